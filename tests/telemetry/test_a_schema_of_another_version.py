"""Between `mesh migrate` and its restart, a collector meets a schema it does not know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_store.model.errors import DatabaseUnavailable
from mesh_store.redis.stream import Batch, done_key
from mesh_store.telemetry.collector import Collector


async def test_facts_it_can_no_longer_store_wait_for_the_new_collector(
    kit: Any, fresh_url: str, fresh: Any, valkey: Any
) -> None:
    fact = kit.fact()
    valkey.client.xadd("mesh:facts:0", Batch("ring9", 1, 0, 8, 1, msgspec.msgpack.encode([fact])).fields())
    await fresh.execute("ALTER TABLE usage_rollups ADD COLUMN of_tomorrow bigint NOT NULL")
    await fresh.execute("UPDATE alembic_version SET version_num = '9999'")
    collector = Collector(fresh_url, valkey.url)
    with pytest.raises(DatabaseUnavailable, match=r"at 9999, .*\(NotNullViolationError\); restart it"):
        await collector.collect_once()
    assert await fresh.fetchval("SELECT count(*) FROM telemetry_dead") == 0
    assert not valkey.client.exists(done_key("ring9"))

    await fresh.execute("ALTER TABLE usage_rollups DROP COLUMN of_tomorrow")
    done = await collector.collect_once()  # as the new one would
    await collector.close()
    assert (done.facts, done.dead) == (1, 0)
    assert await fresh.fetchval("SELECT id::text FROM usage_events") == fact.id
