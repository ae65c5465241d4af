"""Sums that an earlier version wrote count as errors what counts as one now, where their facts are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from mesh_store.postgres.database import Database
from mesh_store.postgres.usage_recount import recount
from mesh_store.postgres.usage_retention import prune
from mesh_store.redis.stream import Batch
from mesh_store.telemetry.fact_store import FactStore

OUTCOMES = ("ok", "timeout", "timeout", "error", "denied", "cancelled")
SUMS = (
    "SELECT * FROM usage_rollups ORDER BY grain, starts_at, team_id, user_id, key_id, alias, provider, model"
)
#: As sums were written when a timeout was no error.
FORGET = (
    "UPDATE usage_rollups AS r SET errors = r.errors - (SELECT count(*) FROM usage_events AS e WHERE"
    " e.outcome = 'timeout' AND e.alias = r.alias AND r.key_id IN ('', e.key_id)"
    " AND date_trunc(split_part('team ' || r.grain, ' ', -1), e.started_at, 'UTC') = r.starts_at)"
)


async def used(url: str, kit: Any) -> list[datetime]:
    """Store facts of two keys, aliases and days; returns the days."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=3), today - timedelta(days=1)]
    facts = [
        kit.fact(
            outcome=outcome,
            key_id=key,
            alias=alias,
            user_id=None if alias == "fast" else "u1",
            started_at_us=round((day + timedelta(minutes=61 * number)).timestamp() * 1e6),
        )
        for day in days
        for key in ("abcdefgh", "ijklmnop")
        for alias in ("fast", "slow")
        for number, outcome in enumerate(OUTCOMES)
    ]
    store = await FactStore.open(url)
    # An id says when it was minted: as if each had been made on its day.
    minted = [f"{fact.started_at_us // 1000:012x}" for fact in facts]
    old = [
        msgspec.structs.replace(fact, id=f"{at[:8]}-{at[8:]}{fact.id[13:]}")
        for fact, at in zip(facts, minted, strict=True)
    ]
    await store.store([Batch("r", 1, 0, 1, len(old), msgspec.msgpack.encode(old))])
    await store.close()
    return days


async def test_errors_are_counted_as_they_would_be_now_and_nothing_else_changes(
    fresh_url: str, fresh: asyncpg.Connection, kit: Any
) -> None:
    await used(fresh_url, kit)
    right = await fresh.fetch(SUMS)
    await fresh.execute(FORGET)
    wrong = sum(now != then for now, then in zip(await fresh.fetch(SUMS), right, strict=True))
    assert wrong > 30
    async with Database(fresh_url) as database:
        assert await recount(database) == (wrong, 0)
        assert await fresh.fetch(SUMS) == right
        assert await recount(database) == (0, 0)


async def test_sums_of_which_one_fact_is_gone_stay_as_they_are(
    fresh_url: str, fresh: asyncpg.Connection, kit: Any
) -> None:
    _, last = await used(fresh_url, kit)
    await fresh.execute(FORGET)
    wrong = await fresh.fetch(SUMS)
    one = "(SELECT id FROM usage_events WHERE outcome = 'error' AND started_at >= $1 LIMIT 1)"
    await fresh.execute(f"DELETE FROM usage_events WHERE id = {one}", last)
    async with Database(fresh_url) as database:
        left = (await recount(database)).left
    assert left == 5, "its minute, hour and day, and its team's hour and day"
    found = await fresh.fetch(SUMS)
    grains = [w["grain"] for w, f in zip(wrong, found, strict=True) if w != f]
    assert grains.count("day") == 7
    assert grains.count("team day") == 3


async def test_sums_whose_facts_are_gone_stay_as_they_are(
    fresh_url: str, fresh: asyncpg.Connection, kit: Any
) -> None:
    first, last = await used(fresh_url, kit)
    right = await fresh.fetch(SUMS)
    await fresh.execute(FORGET)
    wrong = await fresh.fetch(SUMS)
    async with Database(fresh_url) as database:
        await prune(database, last.date(), first.date(), first.date())
        assert (await recount(database)).left == sum(row["starts_at"] < last for row in right)
    found = await fresh.fetch(SUMS)
    assert found == [w if w["starts_at"] < last else r for w, r in zip(wrong, right, strict=True)]
