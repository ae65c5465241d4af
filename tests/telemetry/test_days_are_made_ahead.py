"""Days of facts are there before they are needed, and a week of them before the first collector came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from mesh_store.postgres.usage_partitions import existing
from mesh_store.redis.stream import Batch
from mesh_store.telemetry.fact_store import FactStore


async def test_a_week_is_there_on_either_side_of_today(
    kit: Any, fresh_url: str, fresh: asyncpg.Connection
) -> None:
    before = datetime.now(UTC).date()
    store = await FactStore.open(fresh_url)
    await store.store([Batch("r", 1, 0, 1, 1, msgspec.msgpack.encode([kit.fact()]))])
    await store.close()
    days = await existing(fresh)
    today = {before, datetime.now(UTC).date()}
    assert (days[-1] - days[0]).days == len(days) - 1 == 14
    assert days[7] in today
    assert days[-1] - timedelta(days=7) == days[7]
