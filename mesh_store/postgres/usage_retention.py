"""Retention: whole days of facts are dropped, with what re-pricing made of them; old sums per minute and
hour are deleted; sums per day stay.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple

from sqlalchemy import ColumnElement, Table, delete, func, select, text

from mesh_store.postgres import usage_partitions
from mesh_store.postgres.database import Database
from mesh_store.postgres.usage_tables import adjustment_rollups, adjustments, usage_rollups


class Pruned(NamedTuple):
    """What went, or would go.

    Attributes:
        days: days whose facts were dropped, oldest first.
        minute_rows: sums per minute that were deleted.
        hour_rows: sums per hour likewise, those of teams among them.
        adjustments: single re-pricings of those facts.
    """

    days: list[date]
    minute_rows: int
    hour_rows: int
    adjustments: int


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
    Sums are kept at least as long as the facts they are made of, and those of re-pricing as long as those.
    """
    old = [
        _old(sums, grain, min(before, facts_before))
        for sums in (usage_rollups, adjustment_rollups)
        for grain, before in (
            ("minute", minutes_before),
            ("hour", hours_before),
            ("team hour", hours_before),
        )
    ]
    old.append((adjustments, adjustments.c.fact_id < usage_partitions.first_id(facts_before)))
    async with database.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))  # begins the transaction, too
        connection = (await (await session.connection()).get_raw_connection()).driver_connection
        assert connection is not None
        if dry_run:
            days = [day for day in await usage_partitions.existing(connection) if day < facts_before]
            counts = [select(func.count()).select_from(table).where(each) for table, each in old]
            found = [(await session.execute(count)).scalar_one() for count in counts]
            return _pruned(days, found)
        await session.execute(text("SET LOCAL lock_timeout = '30s'"))
        days = await usage_partitions.prune(connection, facts_before)
        gone = [await session.execute(delete(table).where(each)) for table, each in old]
        found = [int(getattr(each, "rowcount", 0)) for each in gone]
        return _pruned(days, found)


def _pruned(days: list[date], rows: list[int]) -> Pruned:
    """Add up rows: of facts and of re-pricing, of minutes, hours and teams' hours; then adjustments."""
    return Pruned(days, rows[0] + rows[3], sum(rows[1:3] + rows[4:6]), rows[6])


def _old(sums: Table, grain: str, before: date) -> tuple[Table, ColumnElement[bool]]:
    moment = datetime.combine(before, time(), UTC)
    return sums, (sums.c.grain == grain) & (sums.c.starts_at < moment)
