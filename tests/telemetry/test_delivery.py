"""From the ring to the stream: order, outages, a server that forgets, and a server that is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from mesh_store.model.errors import ConfigError, QuotaUnavailable
from mesh_store.model.facts import Done, Intent, Settlement
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis import Limiter, connect
from mesh_store.redis.stream_reader import StreamReader
from mesh_store.telemetry import Recorder, delivery, shipper, watch
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.ring import Mark

STREAM = "mesh:facts:0"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in life takes a fraction here."""
    monkeypatch.setattr(delivery, "GONE_S", 0.3)
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)


def shipped(valkey: Any) -> int:
    return sum(int(fields[b"n"]) for _, fields in valkey.client.xrange(STREAM))


def passing_by(valkey: Any) -> None:
    """Tell producers how far a collector is that takes nothing."""

    async def look() -> None:
        client = redis.asyncio.Redis.from_url(valkey.url)
        await StreamReader(client, "passer-by").tell_how_far()
        await client.aclose()

    asyncio.run(look())
    valkey.client.config_resetstat()


def asked_again(valkey: Any) -> bool:
    stats = valkey.client.info("commandstats")
    return bool("cmdstat_hget" in stats and stats["cmdstat_hget"]["calls"] >= 5)


def test_many_facts_share_an_entry(kit: Any, make_recorder: Callable[..., Recorder], valkey: Any) -> None:
    recorder = make_recorder(ring_bytes=4 << 20)
    for done in [kit.call()[1] for _ in range(2000)]:
        recorder.done(done)
    assert recorder.flush(10)
    assert shipped(valkey) == 2000
    assert valkey.client.xlen(STREAM) < 60


def test_a_fact_is_not_shipped_before_its_settlement_was_answered(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    recorder = make_recorder()
    settled.failing = QuotaUnavailable("away")
    intent, done = kit.call()
    recorder.intent(intent)
    recorder.done(done)
    assert not recorder.flush(0.3)
    assert valkey.client.xlen(STREAM) == 0
    settled.failing = None
    assert recorder.flush(10)
    assert shipped(valkey) == 1
    assert settled.settled == [(intent.reservation.id, (-6,))]


def test_a_settlement_nobody_can_make_is_given_up_and_counted_and_holds_nothing_up(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    bad, good = kit.call()[1], kit.call()[1]
    take = settled.settle_all

    def refuse_one(settlements: Any) -> None:
        if any(reservation.id == bad.settlement.reservation.id for reservation, _ in settlements):
            raise ConfigError("the id was used for other charges")
        take(settlements)

    settled.settle_all = refuse_one
    recorder = make_recorder()
    recorder.done(bad)
    recorder.done(good)
    assert recorder.flush(15)
    assert shipped(valkey) == 2
    assert recorder.health().settlements_refused == 1
    assert [reservation for reservation, _ in settled.settled] == [good.settlement.reservation.id]


def test_missing_permission_to_settle_is_waited_out_however_long_it_takes(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    valkey.client.acl_setuser(
        "limited", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-evalsha"]
    )
    limiter = Limiter(connect(valkey.url + "?username=limited&password=x"))
    recorder = make_recorder(settler=limiter)
    recorder.done(kit.call()[1])
    kit.eventually(lambda: recorder.health().send_errors >= 4, "settling was refused a few times")
    assert recorder.health().settlements_refused == 0
    assert valkey.client.xlen(STREAM) == 0
    valkey.client.acl_setuser("limited", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
    assert recorder.flush(10)
    assert (shipped(valkey), recorder.health().settlements) == (1, 1)


async def test_facts_of_a_server_that_was_killed_without_persistence_are_sent_again(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, database_url: str, postgres: Any
) -> None:
    recorder = make_recorder()
    for _ in range(20):
        recorder.done(kit.call()[1])
    assert recorder.flush(5)
    assert shipped(valkey) == 20
    valkey.kill()
    for _ in range(20):
        recorder.done(kit.call()[1])
    valkey.start()
    kit.eventually(lambda: shipped(valkey) == 40, "all facts are in the new server")
    collector = Collector(database_url, valkey.url)
    await collector.collect_once()
    await collector.close()
    assert recorder.flush(5, collected=True)
    assert recorder.health().resends >= 1
    assert await postgres.fetchval("SELECT count(*) FROM usage_events") == 40


@pytest.mark.parametrize("loss", ["FLUSHALL", f"DEL {STREAM}", f"XTRIM {STREAM} MAXLEN 0"])
def test_entries_that_vanish_without_a_disconnect_are_sent_again(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, loss: str
) -> None:
    recorder = make_recorder()
    for _ in range(20):
        recorder.done(kit.call()[1])
    assert recorder.flush(5)
    valkey.client.execute_command(loss)
    assert shipped(valkey) == 0
    passing_by(valkey)
    kit.eventually(lambda: shipped(valkey) == 20, "the facts are back")
    passing_by(valkey)
    kit.eventually(lambda: asked_again(valkey), "the shipper looked several times")
    assert recorder.health().resends == 1


def test_a_clock_that_went_back_puts_off_no_second_sending(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the wall's, because a ring outlives its process; the day it went back is not waited for."""
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    assert recorder.flush(5)
    ring = recorder._pipeline.shipper.delivery.ring  # type: ignore[union-attr]

    def put_back() -> int:  # as soon as the entry was seen to be gone
        return now_us() - (86_400_000_000 if ring.mark(Mark.GONE_SINCE_US) else 0)

    monkeypatch.setattr(shipper, "now_us", put_back)
    valkey.client.delete(STREAM)
    passing_by(valkey)
    kit.eventually(lambda: shipped(valkey) == 1, "the fact is back")


def test_entries_that_merely_wait_for_a_collector_are_never_sent_again(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    assert recorder.flush(5)
    passing_by(valkey)
    kit.eventually(lambda: asked_again(valkey), "the shipper looked several times")
    assert recorder.health().resends == 0
    assert valkey.client.xlen(STREAM) == 1


def test_facts_wait_in_the_ring_while_memory_is_short_and_settlements_go_on(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    used = valkey.client.info("memory")["used_memory"]
    valkey.client.config_set("maxmemory", int(used / 0.8))
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    assert not recorder.flush(0.5)
    assert len(settled.settled) == 1
    assert valkey.client.xlen(STREAM) == 0
    assert recorder.health().held_back
    valkey.client.config_set("maxmemory", used * 10)
    kit.eventually(lambda: shipped(valkey) == 1, "the fact was shipped when there was room")
    assert not recorder.health().held_back


def test_callers_never_wait_while_redis_is_away_and_all_arrives_when_it_is_back(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    valkey.kill()
    recorder = make_recorder(ring_bytes=4 << 20)
    for done in [kit.call()[1] for _ in range(500)]:
        recorder.done(done)
    assert recorder.health().emitted == 500
    kit.eventually(lambda: recorder.health().send_errors > 1, "the shipper noticed")
    assert recorder.health().last_error
    valkey.start()
    assert recorder.flush(15)
    assert shipped(valkey) == 500


def test_a_full_ring_counts_what_it_drops_and_still_settles_it(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any, settled: Any
) -> None:
    settled.failing = redis.exceptions.ConnectionError("away")
    recorder = make_recorder(ring_bytes=64 * 1024)
    calls = [kit.call()[1] for _ in range(160)]
    for done in calls:
        recorder.done(done)
    health = recorder.health()
    assert health.dropped > 0
    assert health.emitted + health.dropped == len(calls)
    settled.failing = None
    assert recorder.flush(10)
    assert shipped(valkey) == health.emitted
    assert len(settled.settled) == len(calls) - health.dropped_settlements

    def told() -> bool:
        return int(valkey.client.hget("mesh:telemetry:lost", "facts") or 0) == health.dropped

    kit.eventually(told, "everybody can know what was dropped")


def test_a_record_that_cannot_be_encoded_is_counted_and_never_raised(
    kit: Any, make_recorder: Callable[..., Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make_recorder()
    recorder.done(object())  # type: ignore[arg-type]
    recorder.done({"not": {1, 2}, "a": object()})  # type: ignore[arg-type]
    assert recorder.health().failed == 2
    assert len(caplog.records) == 1


def test_without_a_home_everything_works_and_health_says_what_is_weaker(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    recorder = make_recorder(home=None)
    recorder.done(kit.call()[1])
    assert recorder.flush(5)
    health = recorder.health()
    assert (health.mode, shipped(valkey)) == ("memory", 1)
    assert health.reason


def test_health_of_a_closed_recorder_is_that_of_its_last_moment_and_makes_no_new_ring(
    kit: Any, make_recorder: Callable[..., Recorder], tmp_path: Any
) -> None:
    recorder = make_recorder()
    recorder.done(kit.call()[1])
    recorder.close(5)
    before = set((tmp_path / "rings").iterdir())
    assert recorder.health().emitted == 1
    assert set((tmp_path / "rings").iterdir()) == before


def test_health_tells_how_old_the_oldest_waiting_fact_is(
    kit: Any, make_recorder: Callable[..., Recorder], settled: Any
) -> None:
    settled.failing = QuotaUnavailable("away")
    recorder = make_recorder()
    assert recorder.health().oldest_age_s == 0.0
    recorder.done(kit.call(started_at_us=1_700_000_000_000_000)[1])
    assert recorder.health().oldest_age_s > 3600


def test_a_running_calls_slot_is_renewed_before_its_lease_ends_and_no_longer_once_it_is_over(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    slots = Limit(amount=1, period_us=2_000_000, kind="slots")
    limiter = Limiter(connect(valkey.url, deadline=1.0))
    charge = Charge("{t1}:q:team:t1:concurrency", slots, 1)
    reservation = limiter.reserve([charge]).reservation
    assert reservation is not None
    recorder = make_recorder(settler=limiter)
    lost = kit.fact(outcome="lost")
    recorder.intent(Intent(lost, reservation, 0))
    started = time.monotonic()
    while time.monotonic() - started < 3.5:  # almost two leases: the time itself is what is tested
        assert not limiter.peek([charge]).admitted
        time.sleep(0.02)
    recorder.done(Done(kit.fact(), Settlement(reservation, (0,)), lost.id))
    assert recorder.flush(5)
    assert limiter.peek([charge]).admitted
