"""One change: rows, audit and revision in one transaction, or nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

from pydantic import BaseModel
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.errors import Conflict, Rejected
from mesh_store.model.ids import new_id
from mesh_store.postgres import tables as _tables  # noqa: F401 - every table, in the order they are written
from mesh_store.postgres.database import Database, Head
from mesh_store.postgres.history_tables import AuditRow, RevisionsRow

_KINDS = {"teams": "team", "users": "user", "providers": "provider", "aliases": "alias", "members": "member"}

#: SQLSTATEs of a transaction that only came at the wrong moment.
_TRY_AGAIN = {"40001", "40P01", "55P03"}


class Work:
    """An open transaction of one actor.

    Attributes:
        session: what the parts of the repository read and write with.
        actor: who is changing something.
        created: ids of what this work made; nothing in the database can refer to them yet.
        head: where the order of changes stood at the end; set once the work is finished.
    """

    def __init__(self, session: AsyncSession, actor: str) -> None:
        self.session = session
        self.actor = actor
        self.created: set[str] = set()
        self.head: Head | None = None
        self._audits: list[dict[str, Any]] = []
        self._failed = False

    @contextmanager
    def step(self) -> Iterator[Work]:
        """Enclose one of several changes; one that fails takes all of them with it."""
        self.check_whole()
        try:
            with _explained():
                yield self
        except BaseException:
            self._failed = True
            raise

    def check_whole(self) -> None:
        """Refuse to go on after a step failed."""
        if self._failed:
            raise Conflict("a step of this batch failed already, so none of it is kept; begin again")

    def record(
        self,
        action: str,
        *,
        entity_id: str,
        name: str,
        before: BaseModel | None = None,
        after: BaseModel | None = None,
    ) -> None:
        """Note what was done, for the audit log: ``action`` is ``kind.verb``."""
        self._audits.append(
            {
                "id": new_id(),
                "actor": self.actor,
                "action": action,
                "kind": action.split(".", maxsplit=1)[0],
                "entity_id": entity_id,
                "entity_name": name,
                "before": None if before is None else before.model_dump(mode="json"),
                "after": None if after is None else after.model_dump(mode="json"),
            }
        )

    async def flush(self) -> None:
        """Send what is pending, so that a rule of the database speaks now.

        Raises:
            Conflict: the name is taken.
            Rejected: a constraint refused it.
        """
        with _explained():
            await self.session.flush()

    async def finish(self) -> None:
        """Let the deferred triggers number this change, and write the audit log beside that number."""
        await self.flush()
        if not self._audits:
            return
        await self.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        row = (await self.session.execute(select(RevisionsRow.__table__))).mappings().one()
        self.head = Head(row["epoch"], row["revision"], row["keys_revision"])
        at = {"revision": self.head.revision, "keys_revision": self.head.keys_revision}
        await self.session.execute(insert(AuditRow), [audit | at for audit in self._audits])
        self._audits.clear()


@asynccontextmanager
async def work(database: Database, actor: str) -> AsyncIterator[Work]:
    """Open a transaction, and finish and commit it when nothing was raised."""
    async with database.begin() as session:
        current = Work(session, actor)
        with _explained():
            yield current
            await current.finish()


async def check_head(current: Work, expected_revision: int) -> None:
    """Hold the order of changes still and refuse when it went on since ``expected_revision``."""
    query = select(RevisionsRow.revision).with_for_update()
    revision = (await current.session.execute(query)).scalar_one()
    if revision != expected_revision:
        since = (
            select(AuditRow.actor, func.count())
            .where(AuditRow.revision > expected_revision)
            .group_by(AuditRow.actor)
        )
        who = ", ".join(f"{actor} ({count})" for actor, count in (await current.session.execute(since)).all())
        raise Conflict(
            f"the configuration is at revision {revision}, not at {expected_revision} any more"
            f"{f'; changed by {who}' if who else ''}: read it again, then repeat your change"
        )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        _explain(error)


def _explain(error: DBAPIError) -> NoReturn:
    cause = getattr(error.orig, "__cause__", None)
    constraint = str(getattr(cause, "constraint_name", None) or "")
    state = getattr(cause, "sqlstate", None)
    if state in _TRY_AGAIN:
        raise Conflict("somebody changed the same things at the same moment; try again") from error
    if not isinstance(error, IntegrityError):
        raise error
    table = str(getattr(cause, "table_name", None) or "")
    if state == "23505":
        raise _taken(table, str(getattr(cause, "detail", None) or "")) from error
    field = constraint.removeprefix(f"ck_{table}_").removeprefix(f"fk_{table}_") or None
    raise Rejected(f"{table}: the database's rule {constraint or state} refuses it", field=field) from error


def _taken(table: str, detail: str) -> Conflict:
    """Explain a unique violation; ``detail`` is like ``Key (team_id, name)=(…, fast) already exists.``"""
    if table == "limits":
        return Conflict(
            "limit: these subjects have a limit of this dimension and period already; change that one",
            field="limit",
        )
    kind = _KINDS.get(table, table)
    match = re.search(r"name\)=\((?:[^,]*, )?([^)]*)\)", detail)
    called = f" called {match[1]!r}" if match else ""
    return Conflict(f"{kind}: there is one{called} already", field="name")
