"""Retention: whole days of facts are dropped, old sums per minute deleted; sums per day stay."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple

from sqlalchemy import delete, func, select, text

from mesh_store.postgres import usage_partitions
from mesh_store.postgres.database import Database
from mesh_store.postgres.usage_tables import usage_rollups


class Pruned(NamedTuple):
    """What went, or would go.

    Attributes:
        days: days whose facts were dropped, oldest first.
        minute_rows: sums per minute that were deleted.
    """

    days: list[date]
    minute_rows: int


async def prune(
    database: Database, facts_before: date, minutes_before: date, *, dry_run: bool = False
) -> Pruned:
    """Drop the facts of days before one day and the sums per minute before another; UTC.

    The oldest day kept is the horizon of collectors: a fact older than it goes to ``telemetry_dead``.
    """
    r = usage_rollups.c
    old = (r.grain == "minute") & (r.starts_at < datetime.combine(minutes_before, time(), UTC))
    async with database.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))  # begins the transaction, too
        connection = (await (await session.connection()).get_raw_connection()).driver_connection
        assert connection is not None
        if dry_run:
            days = [day for day in await usage_partitions.existing(connection) if day < facts_before]
            rows = (
                await session.execute(select(func.count()).select_from(usage_rollups).where(old))
            ).scalar_one()
            return Pruned(days, rows)
        await session.execute(text("SET LOCAL lock_timeout = '30s'"))
        days = await usage_partitions.prune(connection, facts_before)
        deleted = await session.execute(delete(usage_rollups).where(old))
        return Pruned(days, int(getattr(deleted, "rowcount", 0)))
