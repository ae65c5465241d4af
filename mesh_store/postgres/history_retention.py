"""How far back history goes: audit log, changes and dead letters grow for ever unless somebody ends them.

Callers never read these tables: what they missed comes from the stream in Redis, or from the whole
document. ``changes`` tells `mesh doctor` since when callers wait, so the latest of each stream always stay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import delete, func, select, text
from sqlalchemy.sql.elements import ColumnElement

from mesh_store.model.errors import Rejected
from mesh_store.postgres.database import Database
from mesh_store.postgres.history_tables import AuditRow, ChangeRow
from mesh_store.postgres.repository.work import work
from mesh_store.postgres.usage_tables import telemetry_dead

#: Days the database itself insists on for the audit log.
LEAST_AUDIT_DAYS = 30
#: Latest changes of each stream that stay however old they are.
CHANGES_KEPT = 1_000


class Kept(BaseModel):
    """How many days of each stay."""

    audit_days: int
    changes_days: int
    dead_days: int


class Ended(NamedTuple):
    """How many rows went, or would go."""

    audit: int
    changes: int
    dead: int


async def prune_history(database: Database, kept: Kept, *, actor: str, dry_run: bool = False) -> Ended:
    """Delete what is older than it has to stay; that it was done stays in the audit log.

    Args:
        database: where from.
        kept: how long each stays.
        actor: who does it.
        dry_run: only count.

    Raises:
        Rejected: less of the audit log would stay than the database insists on.
    """
    if kept.audit_days < LEAST_AUDIT_DAYS:
        raise Rejected(f"the audit log goes back {LEAST_AUDIT_DAYS} days at least", field="audit_days")
    now = datetime.now(UTC)
    before = now - timedelta(days=kept.audit_days)
    old: tuple[tuple[Any, ColumnElement[bool]], ...] = (
        (AuditRow.__table__, AuditRow.at < before),
        (ChangeRow.__table__, _old_changes(now - timedelta(days=kept.changes_days))),
        (telemetry_dead, telemetry_dead.c.at < now - timedelta(days=kept.dead_days)),
    )
    async with work(database, actor) as current:
        session = current.session
        await session.execute(text("SET LOCAL statement_timeout = 0"))
        if dry_run:
            counts = [select(func.count()).select_from(table).where(which) for table, which in old]
            return Ended(*[(await session.execute(count)).scalar_one() for count in counts])
        setting = text("SELECT set_config('mesh.prune_before', :before, true)")
        await session.execute(setting, {"before": before.isoformat()})
        gone = [await session.execute(delete(table).where(which)) for table, which in old]
        ended = Ended(*[int(getattr(each, "rowcount", 0)) for each in gone])
        if any(ended):
            current.record("history.prune", entity_id="history", name="history", after=kept)
        return ended


def _old_changes(before: datetime) -> ColumnElement[bool]:
    latest = (
        select(func.max(ChangeRow.revision) - CHANGES_KEPT)
        .where(ChangeRow.stream == stream)
        .scalar_subquery()
        for stream in ("config", "keys")
    )
    config, keys = latest
    return (ChangeRow.at < before) & (
        ((ChangeRow.stream == "config") & (ChangeRow.revision <= config))
        | ((ChangeRow.stream == "keys") & (ChangeRow.revision <= keys))
    )
