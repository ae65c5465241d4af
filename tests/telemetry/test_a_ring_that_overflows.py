"""A ring too small for what waits: it yields what the stream has, and counts what it loses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.exceptions

from mesh_store.model.facts import Cancel, Done
from mesh_store.telemetry import Recorder, drain
from mesh_store.telemetry.collector import Collector

SMALL = 256 * 1024
COST = 65_000_000


async def collected(database_url: str, valkey: Any) -> int:
    collector = Collector(database_url, valkey.url, claim_s=0)
    done = await collector.collect_once()
    await collector.close()
    return done.facts


def lost(valkey: Any) -> dict[str, int]:
    told = valkey.client.hgetall("mesh:telemetry:lost")
    return {name.decode(): int(count) for name, count in told.items() if int(count)}


def overflow(kit: Any, recorder: Recorder, settled: Any) -> int:
    """Write more than there is room for while Redis is away; returns how many facts that were."""
    settled.failing = redis.exceptions.ConnectionError("away")
    calls = [kit.call(cost_pico_usd=COST) for _ in range(400)]
    for intent, done in calls:
        recorder.intent(intent)
        recorder.done(done)
    return len(calls)


def fill_many_times(kit: Any, recorder: Recorder) -> int:
    """Write several times what the ring holds, as fast as it is shipped."""
    made = 0
    for _ in range(40):
        for intent, done in [kit.call() for _ in range(40)]:
            recorder.intent(intent)
            recorder.done(done)
            made += 1
        assert recorder.flush(60)
    assert recorder.health().ring_bytes < made * 500
    return made


@pytest.mark.parametrize("kept", ["file", "memory"])
async def test_a_ring_that_nobody_collects_from_loses_nothing_while_the_stream_takes_it(
    kit: Any,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    database_url: str,
    postgres: asyncpg.Connection,
    tmp_path: Path,
    kept: str,
) -> None:
    recorder = make_recorder(home=tmp_path if kept == "file" else None, ring_bytes=SMALL)
    made = fill_many_times(kit, recorder)
    assert recorder.health().dropped == 0
    assert not recorder.flush(0.2, collected=True), "what only the stream has is not in Postgres"
    assert await collected(database_url, valkey) == made
    assert recorder.flush(60, collected=True)
    assert await postgres.fetchval("SELECT count(*) FROM usage_events") == made
    assert recorder.health().used_bytes == recorder.health().unconfirmed == 0
    assert valkey.client.hlen("mesh:telemetry:lost") == 0


async def test_what_a_server_forgot_of_a_ring_that_had_to_yield_is_counted_and_the_rest_arrives(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, database_url: str
) -> None:
    recorder = make_recorder(ring_bytes=SMALL)
    made = fill_many_times(kit, recorder)
    valkey.kill()
    valkey.start()
    recorder.done(kit.call()[1])
    kit.eventually(lambda: recorder.health().unconfirmed, "the loss is noticed")
    assert recorder.flush(60)
    unconfirmed = recorder.health().unconfirmed
    kit.eventually(lambda: lost(valkey) == {"unconfirmed": unconfirmed}, "everybody can know")
    assert await collected(database_url, valkey) == made + 1 - unconfirmed
    assert recorder.flush(60, collected=True)


async def test_a_forgotten_stream_is_noticed_without_another_call(
    kit: Any,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh_store.telemetry.delivery.GONE_S", 0.2)
    recorder = make_recorder(ring_bytes=SMALL)
    made = fill_many_times(kit, recorder)
    valkey.client.delete("mesh:facts:0")
    await collected(database_url, valkey)  # it tells how far the stream reaches
    kit.eventually(lambda: recorder.health().unconfirmed, "the loss is noticed")
    assert recorder.flush(60)
    assert await collected(database_url, valkey) == made - recorder.health().unconfirmed


def test_calls_and_money_of_facts_that_found_no_room_are_told(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    recorder = make_recorder(ring_bytes=SMALL)
    made = overflow(kit, recorder, settled)
    health = recorder.health()
    assert 0 < health.dropped_facts < made
    assert health.dropped_pico_usd == health.dropped_facts * COST
    settled.failing = None
    assert recorder.flush(60)
    assert recorder.health().shipped + health.dropped_facts == made
    assert len(settled.settled) + health.dropped_settlements == made
    expected = {"facts": health.dropped_facts, "micro_usd": health.dropped_facts * COST // 1_000_000}
    if health.dropped_settlements:
        expected["settlements"] = health.dropped_settlements
    kit.eventually(lambda: lost(valkey) == expected, "everybody can know what was dropped")


def test_losses_of_a_process_that_died_before_it_told_are_told_once_by_whoever_drains_its_ring(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any, tmp_path: Path
) -> None:
    valkey.kill()
    recorder = make_recorder(ring_bytes=SMALL)
    overflow(kit, recorder, settled)
    health = recorder.health()
    recorder.close(0.05)
    valkey.start()
    settled.failing = None
    for _ in range(2):
        drain(tmp_path, valkey.url, settler=settled)
    told = lost(valkey)
    assert (told["facts"], told["micro_usd"]) == (
        health.dropped_facts,
        health.dropped_pico_usd // 1_000_000,
    )


def test_a_cancel_finds_room_when_facts_have_taken_theirs(
    kit: Any, make_recorder: Callable[..., Recorder], settled: Any
) -> None:
    settled.failing = redis.exceptions.ConnectionError("away")
    recorder = make_recorder(ring_bytes=SMALL)
    while not recorder.health().dropped:
        recorder.done(kit.call()[1])
    reservation = kit.reservation()
    recorder.cancel(Cancel(reservation.id, reservation.charges))
    assert (recorder.health().dropped, recorder.health().dropped_settlements) == (1, 0)
    settled.failing = None
    assert recorder.flush(60)
    assert settled.cancelled == [reservation.id]


def dies_having_yielded(kit: Any, home: Path, url: str, settled: Any) -> int:
    """Fill a ring that yields in a process that is killed then; returns how many facts it shipped."""
    says, hears = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed
        recorder = Recorder(home, url, ring_bytes=SMALL, settler=settled)
        made = fill_many_times(kit, recorder)
        os.write(hears, made.to_bytes(4, "little"))
        signal.pause()
    os.close(hears)
    with os.fdopen(says, "rb") as heard:
        made = int.from_bytes(heard.read(4), "little")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return made


def remaining(home: Path) -> list[Path]:
    return list((home / "rings").glob("*.ring"))


async def test_what_a_dead_process_had_yielded_is_counted_once_when_its_stream_is_forgotten(
    kit: Any, valkey: Any, settled: Any, tmp_path: Path, database_url: str
) -> None:
    made = dies_having_yielded(kit, tmp_path, valkey.url, settled)
    drain(tmp_path, valkey.url, settler=settled)
    assert remaining(tmp_path), "the ring waits for the commit of what only the stream holds"
    assert lost(valkey) == {}
    valkey.kill()
    valkey.start()
    for _ in range(2):
        drain(tmp_path, valkey.url, settler=settled)
    unconfirmed = lost(valkey)["unconfirmed"]
    assert unconfirmed > 0
    assert await collected(database_url, valkey) == made - unconfirmed
    drain(tmp_path, valkey.url, settler=settled)
    assert lost(valkey) == {"unconfirmed": unconfirmed}
    assert remaining(tmp_path) == []


async def test_what_a_dead_process_had_yielded_is_no_loss_when_it_is_collected(
    kit: Any, valkey: Any, settled: Any, tmp_path: Path, database_url: str
) -> None:
    made = dies_having_yielded(kit, tmp_path, valkey.url, settled)
    assert await collected(database_url, valkey) == made
    drain(tmp_path, valkey.url, settler=settled)
    valkey.kill()
    valkey.start()
    drain(tmp_path, valkey.url, settler=settled)
    assert (remaining(tmp_path), lost(valkey)) == ([], {})


def test_losses_that_nobody_could_be_told_of_keep_the_ring(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any, tmp_path: Path
) -> None:
    recorder = make_recorder()
    valkey.kill()
    recorder.done(Done(kit.fact(session="\ud800"), None, None))
    recorder.close(0.2)
    assert remaining(tmp_path)
    valkey.start()
    drain(tmp_path, valkey.url, settler=settled)
    assert lost(valkey)["facts"] == 1
    assert remaining(tmp_path) == []
