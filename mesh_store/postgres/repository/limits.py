"""Limits: how much, on whatever combination of subjects."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import LimitEntity, LimitSpec, Page, checked
from mesh_store.model.errors import NotFound
from mesh_store.model.ids import new_id
from mesh_store.model.limit_text import parse_terms
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import KeyRow, TeamRow, UserRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.limit_values import LIMIT_VALUES, limit_entity, limit_entity_of
from mesh_store.postgres.repository.part import (
    AnySelect,
    Part,
    as_id,
    changed_spec,
    check_revision,
    found,
    fresh,
    now,
    page_of,
    refuse_changes,
)
from mesh_store.postgres.repository.people import TEAM, USER
from mesh_store.postgres.repository.providers import meant_provider
from mesh_store.postgres.repository.resolving import meant_alias, target_row
from mesh_store.postgres.repository.work import Work

SUBJECTS = ("team", "user", "key", "alias", "provider", "target", "end_user", "tag")


class Limits(Part):
    """Limits, by id; fields are those of `LimitSpec`."""

    async def create_limit(self, **fields: object) -> LimitEntity:
        """Create a limit: ``limit="600 requests/min"`` and any of team, user, key, alias, provider, target.

        Raises:
            Conflict: these subjects have one of this dimension and period already.
        """
        spec = checked(LimitSpec, "limit", fields)
        async with self._work() as work:
            return await add_limit(work, spec)

    async def get_limit(self, limit_id: str) -> LimitEntity:
        """Return a limit, or raise `NotFound`."""
        async with self._reading() as session:
            return await _entity(session, limit_id)

    async def list_limits(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        archived: bool = False,
        **subjects: str | None,
    ) -> Page[LimitEntity]:
        """Return a page of limits in the order they were made; ``team=…`` and so on narrow it."""
        query = _narrowed(LIMIT_VALUES, subjects)
        if not archived:
            query = query.where(LimitRow.archived_at.is_(None))
        async with self._reading() as session:
            rows, following = await page_of(session, query, (LimitRow.id,), after, limit)
            return Page(tuple(limit_entity(row) for row in rows), following)

    async def update_limit(
        self, limit_id: str, /, *, expected_revision: int | None = None, **changes: object
    ) -> LimitEntity:
        """Change ``limit``, ``distinct``, ``enforce`` or ``on_exhausted``; what was spent stays spent."""
        refuse_changes("limit", changes, *SUBJECTS)
        async with self._work() as work:
            row = await _live_row(work, limit_id, expected_revision)
            before = await _entity(work.session, row.id)
            spec = changed_spec("limit", LimitSpec, before, changes)
            if spec == changed_spec("limit", LimitSpec, before, {}):
                return before
            _fill(row, spec)
            return await _recorded(work, "limit.update", row, before)

    async def archive_limit(self, limit_id: str, /, *, expected_revision: int | None = None) -> LimitEntity:
        """Take a limit out of use."""
        async with self._work() as work:
            row = await _live_row(work, limit_id, expected_revision)
            before = await _entity(work.session, row.id)
            row.archived_at = now()
            return await _recorded(work, "limit.archive", row, before)


async def add_limit(work: Work, spec: LimitSpec) -> LimitEntity:
    """Create a limit inside an open change."""
    row = LimitRow(id=new_id(), **fresh(), **await _subject_ids(work, spec))
    _fill(row, spec)
    work.session.add(row)
    after = limit_entity_of(row, {name: getattr(spec, name) for name in SUBJECTS})
    work.record("limit.create", entity_id=row.id, name=f"{after.label}: {after.limit}", after=after)
    return after


def _fill(row: LimitRow, spec: LimitSpec) -> None:
    terms = parse_terms(spec.limit)
    row.dimension, row.kind = terms.dimension, terms.kind
    row.amount, row.burst, row.period_us = terms.amount, terms.burst, terms.period_us
    row.hard, row.on_outage, row.tz, row.lease = terms.hard, terms.on_outage, terms.tz, terms.lease
    row.enforce, row.on_exhausted = spec.enforce, spec.on_exhausted
    row.distinct_values = spec.distinct


async def _subject_ids(work: Work, spec: LimitSpec) -> dict[str, str | None]:
    session = work.session
    ids: dict[str, str | None] = {"end_user": spec.end_user, "tag": spec.tag}
    if spec.team is not None:
        ids["team_id"] = (await named.referenced(session, TEAM, spec.team)).id
    if spec.user is not None:
        ids["user_id"] = (await named.referenced(session, USER, spec.user)).id
    if spec.key is not None:
        ids["key_id"] = spec.key
        if spec.key not in work.created:
            live = select(KeyRow).where(KeyRow.id == spec.key, KeyRow.revoked_at.is_(None))
            await found(session, live, f"key {spec.key!r}")
    if spec.provider is not None:
        ids["provider_id"] = (await meant_provider(session, spec.provider, ids.get("team_id"))).id
    if spec.alias is not None:
        alias = await meant_alias(session, spec.alias, ids.get("team_id"))
        ids["alias_id"] = alias.id
        if spec.target is not None:
            ids["target_id"] = (await target_row(session, alias, spec.target)).id
    return ids


async def _live_row(work: Work, limit_id: str, expected_revision: int | None) -> LimitRow:
    query = select(LimitRow).where(LimitRow.id == as_id("limit", limit_id), LimitRow.archived_at.is_(None))
    query = query.with_for_update().execution_options(populate_existing=True)
    row = await found(work.session, query, f"limit {limit_id[:40]!r}")
    await check_revision(work.session, row, row.id, expected_revision)
    return row


async def _entity(session: AsyncSession, limit_id: str) -> LimitEntity:
    query = LIMIT_VALUES.where(LimitRow.id == as_id("limit", limit_id))
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"there is no limit {limit_id[:40]!r}", field="limit")
    return limit_entity(row)


async def _recorded(work: Work, action: str, row: LimitRow, before: LimitEntity) -> LimitEntity:
    await work.flush()
    after = await _entity(work.session, row.id)
    work.record(action, entity_id=row.id, name=f"{after.label}: {after.limit}", before=before, after=after)
    return after


def _narrowed(query: AnySelect, subjects: dict[str, str | None]) -> AnySelect:
    columns = {"team": TeamRow.name, "user": UserRow.name, "key": LimitRow.key_id}
    for name, value in subjects.items():
        if name not in columns:
            raise TypeError(f"list_limits() cannot narrow by {name!r}")
        if value is not None:
            query = query.where(columns[name] == value)
    return query
