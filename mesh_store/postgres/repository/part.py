"""What the parts of the repository share: transactions, batches, pages, and finding rows by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Select, Uuid, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import Spec, checked
from mesh_store.model.errors import Conflict, NotFound, Rejected
from mesh_store.model.sealing import Master
from mesh_store.postgres.base import Revised
from mesh_store.postgres.database import Database, Head
from mesh_store.postgres.history_tables import AuditRow
from mesh_store.postgres.repository.work import Work, check_head, work

#: The most a listing gives at once.
MAX_PAGE = 1_000

_Row = TypeVar("_Row")
_Spec = TypeVar("_Spec", bound=Spec)

#: A query of any number of columns.
AnySelect = Select[*tuple[Any, ...]]

#: Told where the order of changes stands after each commit.
AfterCommit = Callable[[Head], Awaitable[None]]


class Part:
    """A repository, as far as every kind of thing needs it.

    Args:
        database: where the truth is kept.
        actor: who makes the changes, for the audit log.
        after_commit: awaited after each commit that changed something.
        master: what stored secrets are sealed under, where this process has it.
    """

    def __init__(
        self,
        database: Database,
        *,
        actor: str,
        after_commit: AfterCommit | None = None,
        master: Master | None = None,
    ) -> None:
        if not 1 <= len(actor) <= 200:
            raise Rejected("actor: say who makes the change, in 1 to 200 characters", field="actor")
        self.database = database
        self.actor = actor
        self.master = master
        self._after_commit = after_commit
        self._joined: Work | None = None

    @asynccontextmanager
    async def batch(self, *, expected_revision: int | None = None) -> AsyncIterator[Self]:
        """Make many changes in one transaction, under one revision: all of them or none.

        A change that was refused ends the batch, even if its error is caught; reading may fail.

        Args:
            expected_revision: refuse unless the configuration still stands at this revision; no other
                change can come in between until the batch ends.
        """
        async with self._work() as current:
            if expected_revision is not None:
                await check_head(current, expected_revision)
            joined = object.__new__(type(self))
            joined.__dict__.update(self.__dict__, _joined=current)
            yield joined
            current.check_whole()

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Work]:
        if self._joined is not None:
            with self._joined.step() as current:
                yield current
            return
        async with work(self.database, self.actor) as current:
            yield current
        if self._after_commit is not None and current.head is not None:
            await self._after_commit(current.head)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Any]:
        """Yield asyncpg's connection, for reading; that of a batch sees what the batch changed so far."""
        async with self._reading() as session:
            yield (await (await session.connection()).get_raw_connection()).driver_connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        if self._joined is not None:
            with self._joined.step():
                await self._joined.flush()
            yield self._joined.session
            return
        async with self.database.begin() as session:
            yield session


def as_text(described: str, value: object) -> str:
    """Return what a thing was asked for by, if anything could be called so."""
    if isinstance(value, str) and len(value) <= 400 and "\0" not in value:
        return value
    raise NotFound(f"there is no such {described}", field=described)


def as_id(described: str, value: object) -> str:
    """Return an id, if it is one."""
    text = as_text(described, value)
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound(f"there is no {described} {text[:40]!r}", field=described) from None


async def found(session: AsyncSession, query: Select[_Row], described: str) -> _Row:
    """Return the one row of a query, or say that there is none."""
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound(f"there is no {described}", field=described.split(" ", maxsplit=1)[0])
    return row


async def check_revision(session: AsyncSession, row: Revised, entity_id: str, expected: int | None) -> None:
    """Refuse a change of something that is not what the operator saw."""
    if expected is None or row.revision == expected:
        return
    last = select(AuditRow.actor, AuditRow.at).where(AuditRow.entity_id == entity_id)
    who = (await session.execute(last.order_by(AuditRow.id.desc()).limit(1))).first()
    by = f", last changed by {who.actor} at {who.at:%Y-%m-%d %H:%M:%S} UTC" if who else ""
    raise Conflict(
        f"it is at revision {row.revision}, not at {expected} any more{by}: read it again, then repeat",
        field="expected_revision",
    )


def changed_spec(kind: str, spec: type[_Spec], present: BaseModel, changes: Mapping[str, object]) -> _Spec:
    """Return what a thing is once ``changes`` are made to it, checked as a whole."""
    fields = {name: getattr(present, name) for name in spec.model_fields}
    return checked(spec, kind, fields | dict(changes))


def refuse_changes(kind: str, changes: Mapping[str, object], *names: str) -> None:
    """Refuse to change what makes a thing the thing it is."""
    for name in names:
        if name in changes:
            raise Rejected(f"{kind}: {name} cannot be changed; make a new {kind} instead", field=name)


async def page_of(
    session: AsyncSession, query: AnySelect, order: tuple[Any, ...], after: str | None, limit: int
) -> tuple[list[Any], str | None]:
    """Return rows after a cursor and the cursor of the next page; ``order`` must be unique as a whole."""
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise Rejected(f"limit: a page holds 1 to {MAX_PAGE} items", field="limit")
    query = query.add_columns(*order).order_by(*order).limit(limit + 1)
    if after is not None:
        place = _cursor(after, order)
        query = query.where(tuple_(*order) > tuple_(*place, types=[column.type for column in order]))
    rows = list((await session.execute(query)).all())
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, " ".join(rows[-1][-len(order) :]) if more else None


def _cursor(after: str, order: tuple[Any, ...]) -> list[str]:
    try:
        place = as_text("cursor", after).split(" ")
        return [
            as_id("cursor", part) if isinstance(column.type, Uuid) else part
            for part, column in zip(place, order, strict=True)
        ]
    except (ValueError, NotFound):
        raise Rejected("after: this is not a cursor of this listing", field="after") from None


def fresh() -> dict[str, Any]:
    """Return what every new row begins with; said here, so that making it costs no round trip."""
    at = now()
    return {"created_at": at, "updated_at": at, "revision": 1}


def now() -> datetime:
    """Return the wall clock; what is archived or revoked is so from this moment."""
    return datetime.now(UTC)
