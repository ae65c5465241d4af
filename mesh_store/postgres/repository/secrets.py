"""Providers' stored secrets: set, listed and never shown."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, text

from mesh_store.model.entities import StoredSecret
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.repository.part import Part, as_text
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
        self, provider: str, value: str | Mapping[str, str], *, team: str | None = None
    ) -> StoredSecret:
        """Store a provider's secret in place of what it had; callers use it within a second.

        Args:
            provider: the provider's name.
            value: the secret; or some of its values by label, the others staying what they are.
            team: the team whose own provider it is.

        Raises:
            Rejected: there is no MESH_SECRET_KEY here, or the value is none.
        """
        master, values = needed(self.master), checked_values(value)
        async with self._work() as work:
            row = await provider_row(work.session, provider, team, lock=True)
            stored = await stored_row(work, row)
            before = None if stored is None else _entity(stored, row, team)
            if isinstance(value, Mapping) and stored is not None:
                values = values_of(stored, row, master) | values
            row.secret = references(values, row.secret)
            after = _entity(await keep(work, row, stored, master, values), row, team)
            work.record("secret.set", entity_id=row.id, name=row.name, before=before, after=after)
            return after

    async def list_secrets(self) -> list[StoredSecret]:
        """Return what is stored, by provider: names of values, versions and dates, never a value."""
        query = (
            select(ProviderSecretRow, ProviderRow, TeamRow.name)
            .join(ProviderRow, ProviderRow.id == ProviderSecretRow.provider_id)
            .outerjoin(TeamRow, TeamRow.id == ProviderRow.team_id)
            .where(ProviderRow.archived_at.is_(None))
            .order_by(ProviderRow.name, TeamRow.name)
        )
        async with self._reading() as session:
            return [_entity(*row) for row in (await session.execute(query)).all()]

    async def secrets_seen_by(self, key_id: str) -> list[str]:
        """Return the providers whose secret, as it still is, the holder of a key could have opened.

        Revoking the key keeps the next ones from its holder; these should be rotated at the provider.
        """
        async with self._reading() as session:
            connection = await session.connection()
            sql = statements("sealing")["seen"].replace("$1", ":key_id")
            rows = await connection.execute(text(sql), {"key_id": as_text("key", key_id)})
            return [row.name for row in rows]


def _entity(stored: ProviderSecretRow, provider: ProviderRow, team: str | None) -> StoredSecret:
    return StoredSecret(
        provider=provider.name,
        team=team,
        labels=tuple(stored.labels),
        version=stored.version,
        set_at=stored.set_at,
        master=stored.master,
    )
