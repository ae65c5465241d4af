"""Providers' stored secrets: set, listed and never shown."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, text

from mesh_store.model.entities import Page, StoredSecret
from mesh_store.model.errors import Conflict, NotFound
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.part import Part, as_text, page_of
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.repository.providers import provider_row
from mesh_store.postgres.repository.stored_secrets import (
    checked_values,
    keep,
    needed,
    references,
    stored_row,
    values_of,
)
from mesh_store.postgres.routing_tables import ProviderRow
from mesh_store.postgres.secret_tables import ProviderSecretRow
from mesh_store.postgres.statements import statements


class Secrets(Part):
    """Secrets of providers, kept sealed; callers who may use the provider can open them, nobody else."""

    async def set_secret(
        self,
        provider: str,
        value: str | Mapping[str, str],
        *,
        team: str | None = None,
        expected_revision: int | None = None,
    ) -> StoredSecret:
        """Store a provider's secret in place of what it had; callers use it within a second.

        Args:
            provider: the provider's name.
            value: the secret; or some of its values by label, the others staying what they are.
            team: the team whose own provider it is.
            expected_revision: refuse when what is stored is not of this version any more; 0 means nothing.

        Raises:
            Rejected: there is no MESH_SECRET_KEY here, or the value is none.
        """
        return await self._store(provider, value, team, expected_revision)

    async def rotate_secret(
        self,
        provider: str,
        value: str | Mapping[str, str],
        *,
        team: str | None = None,
        expected_revision: int | None = None,
    ) -> StoredSecret:
        """Like `set_secret`, for a provider that has one already.

        Raises:
            NotFound: it has none.
        """
        return await self._store(provider, value, team, expected_revision, anew=True)

    async def get_secret(self, provider: str, *, team: str | None = None) -> StoredSecret:
        """Return what may be known of a provider's stored secret, or raise `NotFound`."""
        async with self._reading() as session:
            row = await provider_row(session, provider, team)
            stored = await session.get(ProviderSecretRow, row.id)
            if stored is None:
                raise _no_secret(row.name)
            return _entity(stored, row, team)

    async def list_secrets(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[StoredSecret]:
        """Return a page of what is stored, by provider: names of values, versions and dates, never a value.

        ``team`` narrows it to that team's own providers.
        """
        query = (
            select(ProviderSecretRow, ProviderRow, TeamRow.name)
            .join(ProviderRow, ProviderRow.id == ProviderSecretRow.provider_id)
            .outerjoin(TeamRow, TeamRow.id == ProviderRow.team_id)
            .where(ProviderRow.archived_at.is_(None))
        )
        async with self._reading() as session:
            if team is not None:
                owner = await named.referenced(session, TEAM, team)
                query = query.where(ProviderRow.team_id == owner.id)
            rows, following = await page_of(session, query, (ProviderRow.name, ProviderRow.id), after, limit)
        return Page(tuple(_entity(*row[:3]) for row in rows), following)

    async def secrets_seen_by(self, key_id: str) -> list[str]:
        """Return the providers whose secret, as it still is, the holder of a key could have opened.

        Revoking the key keeps the next ones from its holder; these should be rotated at the provider.
        """
        async with self._reading() as session:
            connection = await session.connection()
            sql = statements("sealing")["seen"].replace("$1", ":key_id")
            rows = await connection.execute(text(sql), {"key_id": as_text("key", key_id)})
            return [row.name for row in rows]

    async def _store(
        self,
        provider: str,
        value: str | Mapping[str, str],
        team: str | None,
        expected: int | None,
        *,
        anew: bool = False,
    ) -> StoredSecret:
        master, values = needed(self.master), checked_values(value)
        async with self._work() as work:
            row = await provider_row(work.session, provider, team, lock=True)
            stored = await stored_row(work, row)
            if anew and stored is None:
                raise _no_secret(row.name)
            _check_version(0 if stored is None else stored.version, expected)
            before = None if stored is None else _entity(stored, row, team)
            if isinstance(value, Mapping) and stored is not None:
                values = values_of(stored, row, master) | values
            row.secret = references(values, row.secret)
            after = _entity(await keep(work, row, stored, master, values), row, team)
            work.record("secret.set", entity_id=row.id, name=row.name, before=before, after=after)
            return after


def _check_version(present: int, expected: int | None) -> None:
    if expected not in (None, present):
        raise Conflict(
            f"the secret is of version {present}, not {expected} any more: somebody else set it",
            field="expected_revision",
        )


def _no_secret(provider: str) -> NotFound:
    return NotFound(
        f"provider {provider!r} has no stored secret yet: use `mesh secret set {provider}`",
        field="provider",
    )


def _entity(stored: ProviderSecretRow, provider: ProviderRow, team: str | None) -> StoredSecret:
    return StoredSecret(
        provider=provider.name,
        team=team,
        labels=tuple(stored.labels),
        version=stored.version,
        set_at=stored.set_at,
        master=stored.master,
    )
