"""Postgres away, Redis away, both away: no call waits, everything arrives, sums are those of the rows."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from mesh_store.model.facts import Done, Settlement
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis import Limiter, connect
from mesh_store.redis.stream import stream_key
from mesh_store.telemetry import Recorder, watch
from mesh_store.telemetry.collector import Collector

#: As in the promise: the slowest hundredth of calls while servers are away, in medians with them there.
MOST = 10
#: What a busy machine may take from anybody, seconds; a wait for a server takes at least its deadline, 1 s.
SCHEDULING_S = 0.5
SUMS = "sum(attempts), sum(input_tokens), sum(cost_pico_usd)"
RAW = "count(*), sum(input_tokens), sum(cost_pico_usd)"


class Postgres:
    """A database that can be taken away from everybody but us."""

    def __init__(self, url: str) -> None:
        before, _, query = url.partition("?")
        self.url, self.name = url, before.rpartition("/")[2]
        self._admin = f"{before.rpartition('/')[0]}/postgres?{query}"

    async def away(self) -> None:
        await self._say(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        await self._say(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )

    async def back(self) -> None:
        await self._say(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    async def _say(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Caller:
    """A thread that makes calls all the time.

    Attributes:
        ids: facts whose `done` has returned.
        taken: seconds each of them took.
    """

    def __init__(self, kit: Any, recorder: Recorder) -> None:
        self.ids: list[str] = []
        self.taken: list[float] = []
        self._kit, self._recorder = kit, recorder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            intent, done = self._kit.call()
            began = time.perf_counter()
            self._recorder.intent(intent)
            self._recorder.done(done)
            self.taken.append(time.perf_counter() - began)
            self.ids.append(done.fact.id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [1.5, pytest.param(60, marks=pytest.mark.full)])
@pytest.mark.parametrize("gone", [("postgres",), ("redis",), ("postgres", "redis")], ids="+".join)
async def test_whatever_is_away_everything_arrives(
    gone: tuple[str, ...],
    seconds: float,
    kit: Any,
    make_recorder: Callable[..., Recorder],
    fresh_url: str,
    valkey: Any,
) -> None:
    recorder = make_recorder(ring_bytes=16 * 1024 * 1024)
    database, collector = Postgres(fresh_url), Collector(fresh_url, valkey.url, claim_s=1)
    stop = asyncio.Event()
    collecting = asyncio.create_task(collector.run(stop))
    caller = await asyncio.to_thread(Caller, kit, recorder)
    try:
        await _until(lambda: collector.done.facts > 100, "facts arrive before the outage")
        if "postgres" in gone:
            await database.away()
        if "redis" in gone:
            await asyncio.to_thread(valkey.kill)
        at = len(caller.ids)
        await asyncio.sleep(seconds)  # how long the outage lasts, not a wait for something
        await _until(lambda: len(caller.ids) > at + 100, "calls went on")
        there, away = caller.taken[:at], caller.taken[at:]
        if "redis" in gone:
            await asyncio.to_thread(valkey.start)
        if "postgres" in gone:
            await database.back()
        await asyncio.to_thread(caller.stop)
        assert await asyncio.to_thread(recorder.flush, 60, collected=True)
    finally:
        caller.stop()
        stop.set()
        await collecting
        await database.back()
    slow = statistics.quantiles(away, n=100)[98]
    assert slow <= MOST * statistics.median(there) + SCHEDULING_S
    print(f"p99 away {slow * 1e6:.0f} us, median there {statistics.median(there) * 1e6:.0f} us")
    connection = await asyncpg.connect(fresh_url)
    stored = {row["id"] for row in await connection.fetch("SELECT id::text FROM usage_events")}
    raw = tuple(await connection.fetchrow(f"SELECT {RAW} FROM usage_events"))
    for grain in ("minute", "hour", "day", "team hour", "team day"):
        sums = await connection.fetchrow(f"SELECT {SUMS} FROM usage_rollups WHERE grain = $1", grain)
        assert tuple(sums) == raw
    await connection.close()
    assert stored == set(caller.ids)


async def test_while_postgres_is_away_a_backlog_stops_at_its_mark_and_calls_are_admitted_and_settled(
    kit: Any, make_recorder: Callable[..., Recorder], valkey: Any
) -> None:
    """No collector can commit: the stream grows to its mark, the rest waits in the ring, limits go on."""
    valkey.kill()
    valkey.start(maxmemory="16mb")
    limiter = Limiter(connect(valkey.url, deadline=30))
    recorder = make_recorder(ring_bytes=64 * 1024 * 1024, settler=limiter)
    month = Limit(amount=60_000, period_us=30 * 86_400_000_000, burst=60_000)
    charge = Charge("{t1}:q:team:t1:requests", month, 3)

    def call() -> None:
        decision = limiter.reserve([charge])
        assert decision.admitted
        fact = kit.fact(tags={"padding": "x" * 500}, reservation_id=decision.reservation.id)
        recorder.done(Done(fact, Settlement(decision.reservation, (1,)), None))

    await asyncio.to_thread(lambda: [call() for _ in range(10)])
    for _ in range(40_000):  # all at once: more than the server's memory, within a look's interval
        recorder.done(Done(kit.fact(tags={"padding": "x" * 500})))
    await _until(lambda: recorder.health().held_back, "the backlog is as long as it may be")
    memory = valkey.client.info("memory")
    assert watch.FACTS_STOP <= memory["used_memory"] / memory["maxmemory"] < watch.FACTS_STOP + 0.05
    assert valkey.client.xlen(stream_key(0)) > 0
    assert recorder.health().shipped < 40_000
    before = recorder.health().settlements
    await asyncio.to_thread(lambda: [call() for _ in range(100)])
    await _until(lambda: recorder.health().settlements >= before + 100, "calls are settled all the same")
    # Refilled at 1.4 units a minute.
    assert 100 <= 60_000 - limiter.peek([charge]).remaining[0] <= 110
    assert recorder.health().dropped == 0


async def _until(true: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"it never came to pass that {what}"
        await asyncio.sleep(0.02)
