"""A collector that meets facts of a newer version parks them whole, and a newer one takes them in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_plugins.cli.checks.facts import dead
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.postgres.database import Database
from mesh_store.redis.stream import Batch, done_key
from mesh_store.telemetry import intake, spending
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.fact_store import FactStore

DAY = Limit(amount=10**13, period_us=86_400_000_000, kind="window", tz="UTC")


@pytest.mark.parametrize("how", ["a newer fact", "a newer fact of other types", "a newer batch"])
async def test_it_is_parked_acknowledged_told_to_doctor_and_revived(
    how: str, kit: Any, fresh_url: str, fresh: Any, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fact = kit.fact()
    body = msgspec.msgpack.encode([fact])
    fields = Batch("ring9", 1, 0, 8, 1, body, _money(fact)).fields()
    if how == "a newer batch":
        fields[b"v"] = 2
    else:
        raw = msgspec.msgpack.decode(body)
        raw[0][0] = 2
        if how.endswith("types"):
            raw[0][5] = "took long"
        fields[b"b"] = msgspec.msgpack.encode(raw)
    valkey.client.xadd("mesh:facts:0", fields)
    collector = Collector(fresh_url, valkey.url)
    done = await collector.collect_once()
    await collector.close()
    assert (done.facts, done.dead) == (0, 1)
    assert valkey.client.hgetall(done_key("ring9")) == {b"1:0": b"8"}
    async with Database(fresh_url) as database:
        finding, *_ = await dead(database)
    assert "revive" in str(finding)

    store = await FactStore.open(fresh_url)
    assert await store.revive() == (0, 1)  # not yet
    monkeypatch.setattr(intake, "FACT_VERSION", 2)
    monkeypatch.setattr("mesh_store.redis.stream.BATCH_VERSION", fields[b"v"])
    if how.endswith("types"):
        await store.close()
        return
    assert await store.revive() == (1, 0)
    assert await store.revive() == (0, 0)
    await store.close()
    assert await fresh.fetchval("SELECT id::text FROM usage_events") == fact.id
    assert await fresh.fetchval("SELECT spent_pico_usd FROM budget_windows") == 7
    assert await fresh.fetchval("SELECT count(*) FROM telemetry_dead") == 0


def _money(fact: Any) -> bytes:
    from mesh_store.model.facts import Settlement

    until_us = fact.started_at_us + 10**9
    reservation = Reservation(fact.call_id, (Charge("{t}:q:newer", DAY, 5),), fact.started_at_us, until_us)
    spent = spending.spending_of(Settlement(reservation, (7,)), fact.id)
    assert spent is not None
    return spending.encode([spent])
