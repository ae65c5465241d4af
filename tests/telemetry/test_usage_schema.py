"""The tables of usage agree with their migration, and days come and go."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from mesh_store.model.ids import new_id
from mesh_store.postgres import migrate, usage_partitions
from mesh_store.postgres.database import Database
from mesh_store.postgres.usage_write import COLUMNS


async def test_the_migrated_schema_is_what_the_tables_in_code_say(fresh_url: str) -> None:
    async with Database(fresh_url) as database:
        assert await migrate.differences(database) == []


async def test_partitions_in_use_do_not_look_like_a_difference(fresh_url: str, fresh: Any) -> None:
    await usage_partitions.ensure(fresh, date.today())
    async with Database(fresh_url) as database:
        assert await migrate.differences(database) == []


async def test_the_downgrade_leaves_nothing_of_usage(fresh_url: str, fresh: Any) -> None:
    await usage_partitions.ensure(fresh, date.today())
    async with Database(fresh_url) as database:
        await migrate.downgrade(database, "0001")
    left = await fresh.fetch(
        "SELECT tablename FROM pg_tables WHERE tablename LIKE 'usage%' OR tablename LIKE 'telemetry%'"
    )
    assert left == []


async def test_every_field_of_a_fact_has_a_column(fresh: Any) -> None:
    rows = await fresh.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'usage_events'::regclass AND attnum > 0"
    )
    columns = {row["attname"] for row in rows}
    assert {"started_at" if name == "started_at_us" else name for name in COLUMNS} <= columns


async def test_days_are_made_ahead_without_gaps_even_after_a_long_pause(fresh: Any) -> None:
    first = date(2026, 1, 10)
    await usage_partitions.ensure(fresh, first)
    await usage_partitions.ensure(fresh, first + timedelta(days=40))
    days = await usage_partitions.existing(fresh)
    assert days[0] == first - timedelta(days=usage_partitions.BACK)
    assert days[-1] == first + timedelta(days=40 + usage_partitions.AHEAD)
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]


async def test_pruning_drops_whole_days_and_moves_the_horizon(fresh: Any) -> None:
    today = date(2026, 1, 10)
    await usage_partitions.ensure(fresh, today)
    dropped = await usage_partitions.prune(fresh, today)
    assert len(dropped) == usage_partitions.BACK
    assert await usage_partitions.ensure(fresh, today) == today


async def test_a_days_bounds_hold_the_ids_minted_that_day(fresh: Any) -> None:
    today = date(2026, 1, 10)
    await usage_partitions.ensure(fresh, today)
    lower, upper = usage_partitions.first_id(today), usage_partitions.first_id(today + timedelta(days=1))
    assert lower < upper <= new_id()


async def test_collectors_that_start_together_make_each_day_once(fresh_url: str) -> None:
    connections = [await asyncpg.connect(fresh_url) for _ in range(4)]
    try:
        oldest = await asyncio.gather(
            *[usage_partitions.ensure(each, date(2026, 1, 10)) for each in connections]
        )
        assert len(set(oldest)) == 1
    finally:
        for each in connections:
            await each.close()


@pytest.mark.parametrize("keep", [3])
async def test_pruning_while_collectors_run_waits_its_turn(fresh_url: str, fresh: Any, keep: int) -> None:
    today = date(2026, 1, 10)
    await usage_partitions.ensure(fresh, today)
    async with fresh.transaction():
        await fresh.execute("SELECT count(*) FROM usage_events")
    assert await usage_partitions.prune(fresh, today - timedelta(days=keep))


async def test_days_are_those_of_utc_whatever_zone_a_session_is_in(fresh: Any) -> None:
    """Clocks went back that night in New York: a day later is 25 hours later there."""
    await fresh.execute("SET timezone TO 'America/New_York'")
    row = await fresh.fetchrow(
        "SELECT usage_ceiling('day', '2026-11-01T00:00Z') = '2026-11-01T00:00Z'::timestamptz AS whole,"
        " usage_ceiling('day', '2026-11-01T00:01Z') = '2026-11-02T00:00Z'::timestamptz AS up,"
        " usage_floor('day', '2026-11-02T23:59Z') = '2026-11-02T00:00Z'::timestamptz AS down,"
        " usage_ceiling('minute', NULL) = '-infinity' AND usage_floor('hour', NULL) = 'infinity' AS ends"
    )
    assert dict(row) == {"whole": True, "up": True, "down": True, "ends": True}
