"""Aliases: the names callers use, with their targets and grants."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import AliasEntity, AliasSpec, Page, checked
from mesh_store.model.ids import new_id
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.alias_parts import add_parts, set_grants, set_targets
from mesh_store.postgres.repository.alias_values import alias_entities, alias_entity
from mesh_store.postgres.repository.effects import archive_limits
from mesh_store.postgres.repository.part import (
    Part,
    changed_spec,
    check_revision,
    fresh,
    now,
    page_of,
    refuse_changes,
)
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.repository.resolving import alias_row, forget_aliases
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import AliasRow


class Aliases(Part):
    """Aliases, by name and, for a team's own, by team; fields are those of `AliasSpec`."""

    async def create_alias(self, **fields: object) -> AliasEntity:
        """Create an alias; ``team=`` makes it that team's own, hiding a global one of the name.

        Raises:
            Conflict: the name is taken.
            NotFound: a provider or team named in it does not exist.
        """
        spec = checked(AliasSpec, "alias", fields)
        async with self._work() as work:
            team_id = await _team_id(work.session, spec.team)
            row = AliasRow(id=new_id(), team_id=team_id, everyone=spec.grants is None, **fresh())
            _fill(row, spec)
            work.session.add(row)
            forget_aliases(work.session)
            targets = await add_parts(work, row, spec)
            after = alias_entity(row, spec.team, targets, spec.grants or ())
            work.record("alias.create", entity_id=row.id, name=_full_name(after), after=after)
            return after

    async def get_alias(self, name: str, *, team: str | None = None) -> AliasEntity:
        """Return a live alias, or raise `NotFound`; ``team`` asks for that team's own."""
        async with self._reading() as session:
            row = await alias_row(session, name, await _team_id(session, team))
            return await _entity(session, row)

    async def list_aliases(
        self, *, team: str | None = None, after: str | None = None, limit: int = 100, archived: bool = False
    ) -> Page[AliasEntity]:
        """Return a page of aliases by name; ``team`` narrows it to that team's own."""
        query = select(AliasRow)
        if not archived:
            query = query.where(AliasRow.archived_at.is_(None))
        async with self._reading() as session:
            if team is not None:
                query = query.where(AliasRow.team_id == await _team_id(session, team))
            rows, following = await page_of(session, query, (AliasRow.name, AliasRow.id), after, limit)
            return Page(tuple(await alias_entities(session, [row[0] for row in rows])), following)

    async def update_alias(
        self,
        name: str,
        /,
        *,
        for_team: str | None = None,
        expected_revision: int | None = None,
        **changes: object,
    ) -> AliasEntity:
        """Change an alias where it runs: callers follow within a second.

        Args:
            name: which alias.
            for_team: the team whose own alias it is.
            expected_revision: refuse when it is not at this revision any more.
            changes: fields of `AliasSpec`; ``targets`` and ``grants`` replace the present ones.
        """
        refuse_changes("alias", changes, "team")
        async with self._work() as work:
            row = await _locked(work, name, for_team, expected_revision)
            before = await _entity(work.session, row)
            spec = changed_spec("alias", AliasSpec, _as_spec(before), changes)
            if spec == _as_spec(before):
                return before
            _fill(row, spec)
            row.updated_at = now()
            await set_targets(work, row, spec.targets)
            await set_grants(work, row, spec.grants)
            return await _recorded(work, "alias.update", row, before)

    async def archive_alias(
        self, name: str, *, team: str | None = None, expected_revision: int | None = None
    ) -> AliasEntity:
        """Take an alias out of use; its limits go with it."""
        async with self._work() as work:
            row = await _locked(work, name, team, expected_revision)
            before = await _entity(work.session, row)
            row.archived_at = now()
            await archive_limits(work, LimitRow.alias_id == row.id)
            return await _recorded(work, "alias.archive", row, before)


def _fill(row: AliasRow, spec: AliasSpec) -> None:
    row.name, row.operations = spec.name, list(spec.operations)
    row.defaults, row.forced = dict(spec.defaults), dict(spec.forced)
    row.max_output_tokens, row.deprecated = spec.max_output_tokens, spec.deprecated
    row.timeout_us = round(spec.timeout * 1_000_000)


def _as_spec(entity: AliasEntity) -> AliasSpec:
    """Return an alias without what the store added, its targets likewise."""
    fields = entity.model_dump(include=set(AliasSpec.model_fields))
    for target in fields["targets"]:
        del target["id"]
    # Grants are a set; the store keeps them by name.
    return checked(AliasSpec, "alias", fields)


async def _team_id(session: AsyncSession, team: str | None) -> str | None:
    return None if team is None else (await named.referenced(session, TEAM, team)).id


async def _locked(work: Work, name: str, team: str | None, expected_revision: int | None) -> AliasRow:
    forget_aliases(work.session)
    row = await alias_row(work.session, name, await _team_id(work.session, team), lock=True)
    await check_revision(work.session, row, row.id, expected_revision)
    return row


async def _entity(session: AsyncSession, row: AliasRow) -> AliasEntity:
    return (await alias_entities(session, [row]))[0]


async def _recorded(work: Work, action: str, row: AliasRow, before: AliasEntity) -> AliasEntity:
    await work.flush()
    after = await _entity(work.session, row)
    work.record(action, entity_id=row.id, name=_full_name(after), before=before, after=after)
    return after


def _full_name(alias: AliasEntity) -> str:
    return alias.name if alias.team is None else f"{alias.team}:{alias.name}"
