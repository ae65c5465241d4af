"""Postgres away, Redis away, both away: no call waits, everything arrives, sums are those of the rows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from mesh_store.redis.stream import stream_key
from mesh_store.telemetry import Recorder
from mesh_store.telemetry.collector import Collector

#: Seconds one `done` may take while everything is away: a call's caller would not notice.
PATIENCE_S = 0.5
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
        slowest_s: the longest any of them took.
    """

    def __init__(self, kit: Any, recorder: Recorder) -> None:
        self.ids: list[str] = []
        self.slowest_s = 0.0
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
            began = time.thread_time()
            self._recorder.intent(intent)
            self._recorder.done(done)
            self.slowest_s = max(self.slowest_s, time.thread_time() - began)
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
        await _until(lambda: collector.done.facts > 0, "facts arrive before the outage")
        if "postgres" in gone:
            await database.away()
        if "redis" in gone:
            await asyncio.to_thread(valkey.kill)
        at = len(caller.ids)
        await asyncio.sleep(seconds)  # how long the outage lasts, not a wait for something
        assert len(caller.ids) > at + 20 * seconds, "calls went on"
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
    assert caller.slowest_s < PATIENCE_S
    connection = await asyncpg.connect(fresh_url)
    stored = {row["id"] for row in await connection.fetch("SELECT id::text FROM usage_events")}
    raw = tuple(await connection.fetchrow(f"SELECT {RAW} FROM usage_events"))
    for grain in ("minute", "hour", "day"):
        sums = await connection.fetchrow(f"SELECT {SUMS} FROM usage_rollups WHERE grain = $1", grain)
        assert tuple(sums) == raw
    await connection.close()
    assert stored == set(caller.ids)


async def test_while_postgres_is_away_a_backlog_stops_at_its_mark_and_settlements_go_on(
    kit: Any, make_recorder: Callable[..., Recorder], settled: Any, valkey: Any
) -> None:
    """No collector can commit: the stream grows to its mark, the rest waits in the ring, calls settle."""
    valkey.kill()
    valkey.start(maxmemory="8mb")
    recorder = make_recorder(ring_bytes=32 * 1024 * 1024)
    calls = 0

    def held_back() -> bool:
        nonlocal calls
        for _ in range(25):  # a server is looked at once a second
            intent, done = kit.call(tags={"padding": "x" * 500})
            recorder.intent(intent)
            recorder.done(done)
            calls += 1
        return recorder.health().held_back

    await _until(held_back, "the backlog is as long as it may be")
    memory = valkey.client.info("memory")
    assert memory["used_memory"] < 0.95 * memory["maxmemory"]
    assert valkey.client.set("limits", "still fit")
    await _until(lambda: len(settled.settled) >= calls, "every call is settled")
    assert valkey.client.xlen(stream_key(0)) > 0
    assert recorder.health().dropped == 0


async def _until(true: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"it never came to pass that {what}"
        await asyncio.sleep(0.02)
