"""Facts spread over several streams of a cluster, taken by several collectors: each reaches Postgres once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mesh_plugins.cli.checks import facts as checks
from mesh_store.model.facts import Done, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Reservation
from mesh_store.redis import Limiter, connect, connect_async
from mesh_store.redis.stream import shard_of, stream_key
from mesh_store.redis.stream_reader import streams_of
from mesh_store.telemetry import Recorder
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.passing import newest, passing
from tests.engines import Engines
from tests.telemetry.conftest import make_fact
from tests.topologies.conftest import PATIENCE, charge
from tests.topologies.servers import Cluster, passed_on

SHARDS = 3
PRODUCERS = 6


@pytest.fixture
def empty(cluster: Cluster) -> Cluster:
    """The cluster without streams of other tests."""
    for node in cluster.primaries():
        node.client.flushall()
    return cluster


class Producer:
    """A recorder as of one process, and what it was told."""

    def __init__(self, home: Path, url: str, limiter: Limiter, session: str) -> None:
        self.recorder = Recorder(home, url, settler=limiter, shards=SHARDS)
        self.session, self.told = session, 0

    def record(self, count: int) -> None:
        for _ in range(count):
            held = Reservation(new_id(), (charge(self.session),), now_us(), now_us() + 60_000_000)
            fact = make_fact(session=self.session, reservation_id=held.id)
            self.recorder.done(Done(fact, Settlement(held, (0,)), None))
            self.told += 1

    @property
    def stream(self) -> str:
        pipeline = self.recorder._pipeline
        assert pipeline is not None
        return stream_key(shard_of(pipeline.file.ring.identity.ring, SHARDS))


@pytest.fixture
def producers(empty: Cluster, tmp_path: Path, tag: str) -> Iterator[list[Producer]]:
    """Recorders told to use three streams, with at least one ring for each stream."""
    with ExitStack() as held, connect(empty.url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        made: list[Producer] = []
        while len(made) < PRODUCERS or len({one.stream for one in made}) < SHARDS:
            made.append(Producer(tmp_path / f"home{len(made)}", empty.url, Limiter(client), tag))
            held.callback(made[-1].recorder.close, 0.0)
            made[-1].record(1)  # it has a ring from now on
        yield made


@asynccontextmanager
async def collecting(engines: Engines, url: str, count: int) -> AsyncIterator[list[Collector]]:
    """Run collectors beside each other; nobody told them how many streams there are."""
    stop = asyncio.Event()
    made = [Collector(engines.database_url, url, claim_s=1.0) for _ in range(count)]
    running = [asyncio.create_task(one.run(stop)) for one in made]
    try:
        yield made
    finally:
        stop.set()
        await asyncio.gather(*running)


async def stored(engines: Engines, session: str) -> int:
    connection = await asyncpg.connect(engines.dsn)
    try:
        query = "SELECT count(*) FROM usage_events WHERE session = $1"
        return int(await connection.fetchval(query, session))
    finally:
        await connection.close()


async def arrived(engines: Engines, producers: list[Producer]) -> None:
    """Wait until every producer heard that all its facts are in Postgres, and look there."""
    heard = [asyncio.to_thread(one.recorder.flush, 60.0, collected=True) for one in producers]
    assert all(await asyncio.gather(*heard))
    assert await stored(engines, producers[0].session) == sum(one.told for one in producers)


async def test_each_fact_arrives_once_and_every_stream_carries_some(
    empty: Cluster, producers: list[Producer], mesh_engines: Engines
) -> None:
    async with collecting(mesh_engines, empty.url, count=3):
        for one in producers:
            one.record(20)
        await arrived(mesh_engines, producers)
    for stream in map(stream_key, range(SHARDS)):
        told: Any = empty.holder(stream).client.xinfo_stream(stream)
        assert told["last-generated-id"] != b"0-0"
        assert told["length"] == 0


@pytest.mark.parametrize(
    "more", [pytest.param(20, id="short"), pytest.param(500, id="long", marks=pytest.mark.full)]
)
async def test_facts_are_calls_though_a_primary_dies_in_between(
    empty: Cluster, producers: list[Producer], mesh_engines: Engines, more: int
) -> None:
    async with collecting(mesh_engines, empty.url, count=2):
        for one in producers:
            one.record(more)
        victim = empty.holder(producers[0].stream)
        await asyncio.to_thread(passed_on, victim, empty.replica_of(victim))
        victim.kill()
        for one in producers:
            one.record(more)  # nobody waits for the one that is away
        await arrived(mesh_engines, producers)


async def test_a_collector_finds_streams_that_are_added_while_it_runs(
    empty: Cluster, tmp_path: Path, tag: str, mesh_engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh_store.telemetry.collector.BEAT_S", 0.1)
    with connect(empty.url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        async with collecting(mesh_engines, empty.url, count=1) as [collector]:
            while not collector._joined:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            assert len(collector._reader._streams) == 1
            one = Producer(tmp_path / "home", empty.url, Limiter(client), tag)
            while one.stream == stream_key(0):  # rings are named at random
                one.recorder.close(0.0)
                one = Producer(tmp_path / new_id(), empty.url, Limiter(client), tag)
            one.record(3)
            await arrived(mesh_engines, [one])
            one.recorder.close()


async def test_doctor_and_tail_look_at_every_stream(empty: Cluster, producers: list[Producer]) -> None:
    for one in producers:
        assert await asyncio.to_thread(one.recorder.flush, 30.0)
    client = connect_async(empty.url, deadline=PATIENCE, connect_deadline=PATIENCE)
    try:
        assert await streams_of(client) == [stream_key(shard) for shard in range(SHARDS)]
        found = {finding.check: finding.found for finding in await checks.stream(client)}
        assert found["backlog"] == f"{len(producers)} batches wait"
        places = await newest(client)
        for one in producers:
            one.record(1)
        heard = set()
        async with asyncio.timeout(60):
            async for fact in passing(client, places):
                heard.add(fact.id)
                if len(heard) == len(producers):
                    break
    finally:
        await client.aclose()
