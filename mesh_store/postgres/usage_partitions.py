"""Day partitions of ``usage_events``: made ahead, dropped by retention.

The oldest partition is the horizon: a fact whose id is older than it would be counted a second time
if its day had been dropped, so it goes to ``telemetry_dead``. Partitions are therefore without
gaps from the oldest to a week ahead, and the horizon only moves by dropping.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import asyncpg

from mesh_store.postgres.statements import statements

#: Days made ahead, so that a collector that cannot run DDL for a week loses nothing.
AHEAD = 7
#: Days made back on an empty table: rings may have waited for the first collector.
BACK = 7

_SQL = statements("usage_partitions")
_PREFIX = "usage_events_p"


def day_of(moment_us: int) -> date:
    """Return the UTC day of a moment in microseconds since the epoch."""
    return datetime.fromtimestamp(moment_us // 1_000_000, UTC).date()


def first_id(day: date) -> str:
    """Return the smallest UUIDv7 that can be minted on a day."""
    ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-0000-0000-000000000000"


async def ensure(connection: asyncpg.Connection, today: date) -> date:
    """Make the partitions that are missing and return the oldest day; safe from many collectors."""
    days = await existing(connection)
    if days and days[-1] >= today + timedelta(days=AHEAD // 2):
        return days[0]
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        days = await existing(connection)
        oldest = days[0] if days else today - timedelta(days=BACK)
        newest = today + timedelta(days=AHEAD)
        have = set(days)
        for offset in range((newest - oldest).days + 1):
            day = oldest + timedelta(days=offset)
            if day not in have:
                await _make(connection, day)
    return oldest


async def prune(connection: asyncpg.Connection, before: date) -> list[date]:
    """Drop the partitions of days before ``before``; return the days. Rollups stay."""
    dropped = []
    async with connection.transaction():
        await connection.execute(_SQL["lock"])
        for day in await existing(connection):
            if day < before:
                await connection.execute(_SQL["drop"].format(name=_name(day)))
                dropped.append(day)
    return dropped


async def existing(connection: asyncpg.Connection) -> list[date]:
    """Return the days that have a partition, oldest first."""
    rows = await connection.fetch(_SQL["existing"])
    return [date.fromisoformat(row["name"].removeprefix(_PREFIX)) for row in rows]


async def _make(connection: asyncpg.Connection, day: date) -> None:
    name = _name(day)
    await connection.execute(_SQL["create"].format(name=name))
    await connection.execute(
        _SQL["attach"].format(name=name, lower=first_id(day), upper=first_id(day + timedelta(days=1)))
    )


def _name(day: date) -> str:
    return f"{_PREFIX}{day:%Y%m%d}"
