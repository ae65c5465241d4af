"""Creating, reading, changing and archiving what is known by one name: teams, users, providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import Page, Spec, checked
from mesh_store.model.errors import Conflict
from mesh_store.model.ids import new_id
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.repository.part import (
    as_text,
    changed_spec,
    check_revision,
    found,
    fresh,
    now,
    page_of,
)
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import ProviderRow

Row = TypeVar("Row", TeamRow, UserRow, ProviderRow)
S = TypeVar("S", bound=Spec)
E = TypeVar("E", bound=BaseModel)


class Owner(NamedTuple):
    """The team whose own something is."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Kind(Generic[Row, S, E]):
    """What differs between the named kinds: the word, the table, the two values, and whose they are.

    Providers may be a team's own; then the names meant are those of its ``owner``'s, else the global ones.
    """

    word: str
    row: type[Row]
    spec: type[S]
    entity: type[E]
    owner: Owner | None = None

    @property
    def live(self) -> tuple[ColumnElement[bool], ...]:
        """The rows a name is looked for among."""
        if self.row is not ProviderRow:
            return (self.row.archived_at.is_(None),)
        team = ProviderRow.team_id
        ours = team.is_(None) if self.owner is None else team == self.owner.id
        return (self.row.archived_at.is_(None), ours)


def create(work: Work, kind: Kind[Row, S, E], fields: Mapping[str, object]) -> E:
    """Create one; that its name is free among the live ones is for the database to say, at the end."""
    spec = checked(kind.spec, kind.word, fields)
    row = kind.row(id=new_id(), **fresh(), **_columns(kind, spec))
    known = _remembered(work.session, kind)
    if row.name in known:
        raise Conflict(f"{kind.word}: there is one called {row.name!r} already", field="name")
    known[row.name] = row
    work.session.add(row)
    work.created.add(row.id)
    entity = entity_of(kind, row)
    work.record(f"{kind.word}.create", entity_id=row.id, name=row.name, after=entity)
    return entity


async def row_named(session: AsyncSession, kind: Kind[Row, S, E], name: str, *, lock: bool = False) -> Row:
    """Return the live row of a name."""
    query = select(kind.row).where(kind.row.name == as_text(kind.word, name), *kind.live)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await found(session, query, f"{kind.word} {name[:128]!r}")


async def referenced(session: AsyncSession, kind: Kind[Row, S, E], name: str) -> Row:
    """Return the live row that something new will name, and keep it alive until this change ends.

    Without the lock a key could be made for a team that is being archived, and outlive it. Asked again
    in one batch, the answer comes from memory.
    """
    known = _remembered(session, kind)
    if name not in known:
        query = select(kind.row).where(kind.row.name == name, *kind.live)
        query = query.with_for_update(read=True, key_share=True)
        known[name] = await found(session, query, f"{kind.word} {str(name)[:128]!r}")
    return known[name]


async def page(
    session: AsyncSession, kind: Kind[Row, S, E], *, after: str | None, limit: int, archived: bool
) -> Page[E]:
    """Return a page by name; with ``archived`` also what is out of use."""
    query = select(kind.row)
    if not archived:
        query = query.where(kind.row.archived_at.is_(None))
    rows, following = await page_of(session, query, (kind.row.name, kind.row.id), after, limit)
    return Page(tuple(entity_of(kind, row[0]) for row in rows), following)


async def update(
    work: Work,
    kind: Kind[Row, S, E],
    name: str,
    expected_revision: int | None,
    changes: Mapping[str, object],
) -> E:
    """Change fields of one; a change that changes nothing leaves no trace."""
    row = await row_named(work.session, kind, name, lock=True)
    _remembered(work.session, kind).clear()
    await check_revision(work.session, row, row.id, expected_revision)
    before = entity_of(kind, row)
    spec = changed_spec(kind.word, kind.spec, before, changes)
    columns = _columns(kind, spec)
    if columns == _columns(kind, changed_spec(kind.word, kind.spec, before, {})):
        return before
    for column, value in columns.items():
        setattr(row, column, value)
    await work.flush()
    after = entity_of(kind, row)
    work.record(f"{kind.word}.update", entity_id=row.id, name=row.name, before=before, after=after)
    return after


async def archive(work: Work, kind: Kind[Row, S, E], row: Row, expected_revision: int | None) -> E:
    """Take one out of use."""
    _remembered(work.session, kind).clear()
    await check_revision(work.session, row, row.id, expected_revision)
    before = entity_of(kind, row)
    row.archived_at = now()
    await work.flush()
    after = entity_of(kind, row)
    work.record(f"{kind.word}.archive", entity_id=row.id, name=row.name, before=before, after=after)
    return after


def entity_of(kind: Kind[Row, S, E], row: Row) -> E:
    """Return the value of a row."""
    owner = {"team": kind.owner.name if kind.owner else None} if "team" in kind.entity.model_fields else {}
    return kind.entity.model_validate(
        {
            name: getattr(row, "attributes" if name == "metadata" else name)
            for name in kind.entity.model_fields
            if name != "team"
        }
        | owner
    )


def _columns(kind: Kind[Row, S, E], spec: Spec) -> dict[str, object]:
    fields = spec.model_dump(exclude={"team"})
    if kind.owner is not None:
        fields["team_id"] = kind.owner.id
    return {("attributes" if name == "metadata" else name): value for name, value in fields.items()}


def _remembered(session: AsyncSession, kind: Kind[Row, S, E]) -> dict[str, Row]:
    whose = "" if kind.owner is None else f" of {kind.owner.id}"
    remembered: dict[str, Row] = session.info.setdefault(f"rows of {kind.word}{whose}", {})
    return remembered
