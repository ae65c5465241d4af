"""Retention: whole days of facts are dropped, old sums per minute and hour deleted; sums per day stay."""

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
        hour_rows: sums per hour likewise.
    """

    days: list[date]
    minute_rows: int
    hour_rows: int


async def prune(
    database: Database,
    facts_before: date,
    minutes_before: date,
    hours_before: date,
    *,
    dry_run: bool = False,
) -> Pruned:
    """Drop the facts of days before one day, and sums per minute and per hour before others; UTC.

    The oldest day kept is the horizon of collectors: a fact older than it goes to ``telemetry_dead``.
    Sums are kept at least as long as the facts they are made of.
    """
    old = [
        (usage_rollups.c.grain == grain)
        & (usage_rollups.c.starts_at < datetime.combine(min(before, facts_before), time(), UTC))
        for grain, before in (("minute", minutes_before), ("hour", hours_before))
    ]
    async with database.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))  # begins the transaction, too
        connection = (await (await session.connection()).get_raw_connection()).driver_connection
        assert connection is not None
        if dry_run:
            days = [day for day in await usage_partitions.existing(connection) if day < facts_before]
            counts = [select(func.count()).select_from(usage_rollups).where(each) for each in old]
            return Pruned(days, *[(await session.execute(count)).scalar_one() for count in counts])
        await session.execute(text("SET LOCAL lock_timeout = '30s'"))
        days = await usage_partitions.prune(connection, facts_before)
        gone = [await session.execute(delete(usage_rollups).where(each)) for each in old]
        return Pruned(days, *[int(getattr(each, "rowcount", 0)) for each in gone])
