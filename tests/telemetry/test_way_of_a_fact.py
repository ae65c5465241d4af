"""From `done` to a row in Postgres, on real engines."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mesh_store.model.facts import Cancel, Done
from mesh_store.postgres.database import Database
from mesh_store.postgres.usage import usage_report
from mesh_store.telemetry.collector import Collector


async def test_a_call_arrives_as_one_row_with_every_field(
    kit: Any, make_recorder: Any, valkey: Any, database_url: str, postgres: Any, settled: Any
) -> None:
    recorder = make_recorder()
    intent, done = kit.call(
        user_id="u1", tags={"job": "nightly"}, ttft_us=250_000, status=None, session="s", flags=("x",)
    )
    recorder.intent(intent)
    recorder.done(done)
    assert recorder.flush(5)

    collector = Collector(database_url, valkey.url)
    report = await collector.collect_once()
    await collector.close()

    assert report.facts == 1
    row = dict(await postgres.fetchrow("SELECT * FROM usage_events"))
    assert str(row["id"]) == done.fact.id
    assert row["started_at"].timestamp() == done.fact.started_at_us / 1e6
    assert (row["tags"], row["user_id"], row["ttft_us"]) == ('{"job": "nightly"}', "u1", 250_000)
    assert row["cost_pico_usd"] == Decimal(65_000_000)
    assert row["flags"] == ["x", "unknown_key"]
    assert settled.settled == [(intent.reservation.id, (-6,))]


async def test_the_ring_is_given_back_once_postgres_has_everything(
    kit: Any, make_recorder: Any, valkey: Any, database_url: str, tmp_path: Path
) -> None:
    recorder = make_recorder()
    for _ in range(50):
        for record, write in zip(kit.call(), (recorder.intent, recorder.done), strict=True):
            write(record)
    assert recorder.flush(5)
    assert recorder.health().used_bytes > 0

    collector = Collector(database_url, valkey.url)
    await collector.collect_once()
    assert recorder.flush(5, collected=True)
    kit.eventually(lambda: recorder.health().used_bytes == 0, "the ring is empty")
    recorder.close()
    await collector.close()

    assert list((tmp_path / "rings").iterdir()) == []
    assert valkey.client.xlen("mesh:facts:0") == 0


async def test_rollups_add_up_to_the_rows_and_show_in_the_report(
    kit: Any, make_recorder: Any, valkey: Any, database_url: str, postgres: Any
) -> None:
    recorder = make_recorder()
    for fields in (
        {},
        {"alias": "smart", "cost_pico_usd": None},
        {
            "outcome": "error",
            "error_type": "timeout",
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_pico_usd": 0,
        },
        {"outcome": "denied", "attempt": 0, "provider": None, "input_tokens": 0, "output_tokens": 0},
    ):
        recorder.done(kit.call(**fields)[1])
    assert recorder.flush(5)
    collector = Collector(database_url, valkey.url)
    await collector.collect_once()
    await collector.close()

    async with Database(database_url) as database:
        rows = await usage_report(database, by=("alias",))
        total = (await usage_report(database))[0]
    assert [row["alias"] for row in rows] == ["fast", "smart"]
    assert total["calls"] == 3
    assert (total["errors"], total["denied"], total["unpriced"]) == (1, 1, 1)
    assert total["cost_usd"] == Decimal("0.000130")
    assert await postgres.fetchval("SELECT sum(latency[12]) FROM usage_rollups WHERE grain = 'minute'") == 3


async def test_a_cancel_reaches_the_limiter(kit: Any, make_recorder: Any, settled: Any) -> None:
    recorder = make_recorder()
    reservation = kit.reservation()
    recorder.cancel(Cancel(reservation.id, reservation.charges))
    assert recorder.flush(5)
    assert settled.cancelled == [reservation.id]


async def test_a_fact_that_cannot_be_encoded_costs_itself_and_not_its_settlement(
    kit: Any, make_recorder: Any, settled: Any
) -> None:
    recorder = make_recorder()
    intent, done = kit.call(session="\ud800")
    recorder.done(done)
    assert recorder.flush(5)
    assert settled.settled == [(intent.reservation.id, (-6,))]
    assert recorder.health().failed == 1


@pytest.mark.parametrize("settles", [True, False], ids=["with a settlement", "without"])
async def test_what_cannot_be_encoded_is_told_among_the_losses_with_its_money(
    kit: Any, make_recorder: Any, valkey: Any, settles: bool
) -> None:
    """Whatever a plugin did to a fact: not even its cost need be a number."""
    recorder = make_recorder()
    for spoilt in ({"session": "\ud800"}, {"cost_pico_usd": object()}, {"cost_pico_usd": 2**80}):
        done = kit.call(**{"cost_pico_usd": 7_000_000} | spoilt)[1]
        recorder.done(done if settles else Done(done.fact, None, None))
    assert recorder.flush(5)
    health = recorder.health()
    assert (health.dropped_facts, health.dropped_pico_usd, health.failed) == (3, 7_000_000, 3)

    def told() -> bool:
        lost = {
            name.decode(): int(count) for name, count in valkey.client.hgetall("mesh:telemetry:lost").items()
        }
        return {name: count for name, count in lost.items() if count} == {"facts": 3, "micro_usd": 7}

    kit.eventually(told, "everybody can know what was lost")


@pytest.mark.parametrize("spoilt", [{"id": 5}, {"started_at_us": "now"}, {"cost_pico_usd": "much"}], ids=str)
async def test_a_fact_of_wrong_types_is_put_aside_and_holds_up_no_other(
    kit: Any, make_recorder: Any, settled: Any, valkey: Any, database_url: str, spoilt: dict[str, Any]
) -> None:
    recorder = make_recorder()
    intent, done = kit.call(**spoilt)
    recorder.done(done)
    assert recorder.health().oldest_age_s >= 0
    _, whole = kit.call()
    recorder.done(whole)
    assert recorder.flush(5)
    assert (intent.reservation.id, (-6,)) in settled.settled
    assert recorder.health().send_errors == 0
