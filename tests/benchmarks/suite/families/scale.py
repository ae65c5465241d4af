"""Limits, facts and configuration over clusters of one, two and three primaries, each with a replica.

On a machine of two cores all servers and all callers share them, so what is told of more primaries is
processor time: an operation's on the servers together, and how evenly the primaries share it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bench_config
import bench_telemetry
import msgspec

from mesh_store.embedded import attach
from mesh_store.model import Charge, Limit
from mesh_store.postgres.database import Database
from mesh_store.redis import AsyncLimiter, connect, connect_async
from mesh_store.redis.stream import Batch, FactStream, stream_key
from suite.book import Page
from suite.processors import Work
from suite.stage import Stage
from tests.topologies.servers import Cluster, Process, Servers

PRIMARIES = (1, 2, 3)
AXIS = "primaries"
LIMITS, FACTS, CONFIG = (
    "Scale: limits on a cluster",
    "Scale: facts on a cluster",
    "Scale: changes on a cluster",
)
TASKS, TEAMS, BATCH = 32, 48, 500
_PLENTY = Limit(amount=10**9, period_us=30 * 86_400_000_000, burst=10**9)
_COLLECTOR = str(Path(bench_telemetry.__file__).with_name("bench_collector.py"))


def run(page: Page, stage: Stage) -> None:
    """Measure each size of cluster, one after the other."""
    facts = 5_000 if stage.quick else 60_000
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-bench-")))
        engines = stack.enter_context(attach(home / "engines"))
        asyncio.run(_migrate(engines.database_url))
        for count in PRIMARIES:
            stage.say(f"{count} primaries")
            servers = Servers(home / f"of{count}")
            try:
                cluster = Cluster(servers, primaries=count, replicas=1)
                _limits(page, stage, cluster, count)
                _facts(page, cluster, engines.database_url, facts, count)
                p50, p99 = asyncio.run(bench_config.visible(cluster.url, 10, 10 if stage.quick else 50))
                page.tell(CONFIG, "commit to visible, 10 clients", "p50", "ms", p50, count, AXIS)
                page.tell(CONFIG, "commit to visible, 10 clients", "p99", "ms", p99, count, AXIS)
            finally:
                servers.close()


async def _migrate(database_url: str) -> None:
    async with Database(database_url) as database:
        await database.migrate()


def _limits(page: Page, stage: Stage, cluster: Cluster, count: int) -> None:
    rounds: dict[tuple[str, str], list[float]] = {}
    for _ in range(stage.rounds):
        for figure, value in stage.quiet(lambda: asyncio.run(_decided(cluster, stage.seconds))).items():
            rounds.setdefault(figure, []).append(value)
    for (name, unit), values in rounds.items():
        page.tell(LIMITS, "four limits of one of 48 teams", name, unit, values, count, AXIS)


async def _decided(cluster: Cluster, seconds: float) -> dict[tuple[str, str], float]:
    primaries = cluster.primaries()
    others = [node for node in cluster.nodes if node not in primaries]
    async with connect_async(cluster.url, deadline=5, connect_deadline=5) as client:
        limiter = AsyncLimiter(client)
        teams = [
            [Charge(f"{{team{team}}}:q:key:k1:{name}", _PLENTY, 1) for name in "abcd"]
            for team in range(TEAMS)
        ]
        for team in teams:
            await limiter.reserve(team)
        before = [_work([node]) for node in primaries], _work(others)
        began, cpu, done = time.perf_counter(), time.process_time(), 0

        async def task(number: int) -> None:
            nonlocal done
            while time.perf_counter() - began < seconds:
                await limiter.reserve(teams[(number + done) % TEAMS])
                done += 1

        await asyncio.gather(*map(task, range(TASKS)))
        passed, cpu = time.perf_counter() - began, time.process_time() - cpu
        each = [_work([node]).since(then).cpu_s for node, then in zip(primaries, before[0], strict=True)]
        replicas = _work(others).since(before[1]).cpu_s
    return {
        ("decisions/s", "/s"): done / passed,
        ("caller's CPU", "us"): cpu * 1e6 / done,
        ("primaries' CPU", "us"): sum(each) * 1e6 / done,
        ("busiest primary's share", "%"): 100 * max(each) / sum(each),
        ("replicas' CPU", "us"): replicas * 1e6 / done,
    }


def _facts(page: Page, cluster: Cluster, database_url: str, facts: int, count: int) -> None:
    """Hand facts in over as many streams as there are primaries, and collect them by as many collectors."""
    primaries, case = cluster.primaries(), "batches of 500 of 12 processes"
    collectors = [_collector(database_url, cluster.url, count) for _ in range(count)]
    before = _work(primaries)
    with connect(cluster.url, deadline=5, connect_deadline=5) as client:
        stream = FactStream(client, shards=count)
        for batch in _batches(facts):
            stream.add(batch)
        used = {name: client.memory_usage(name, samples=0) for name in map(stream_key, range(count))}
    handed_in = _work(primaries).since(before)
    told = _collected(collectors)
    taken = _work(primaries).since(before).cpu_s - handed_in.cpu_s
    arrived = sum(one["facts"] for one in told)
    assert arrived == facts, f"{arrived} of {facts} facts arrived"
    figures = {
        ("servers' CPU, handing in", "us"): handed_in.cpu_s * 1e6 / facts,
        ("servers' CPU, taking out", "us"): taken * 1e6 / facts,
        ("memory while it waits", "B"): sum(float(size or 0) for size in used.values()) / facts,
        ("largest stream's share", "%"): 100
        * max(float(size or 0) for size in used.values())
        / sum(float(size or 0) for size in used.values()),
        ("collectors' CPU", "us"): sum(one["cpu_s"] for one in told) * 1e6 / facts,
        ("collected", "/s"): facts / max(one["s"] for one in told),
    }
    for (name, unit), value in figures.items():
        page.tell(FACTS, case, name, unit, value, count, AXIS)


def _batches(facts: int) -> list[Batch]:
    """Make what 12 processes would hand in."""
    encode = msgspec.msgpack.Encoder().encode
    bodies = [encode([bench_telemetry.fact() for _ in range(BATCH)]) for _ in range(facts // BATCH)]
    return [
        Batch(f"ring{at % 12}", 1, at * BATCH, (at + 1) * BATCH, BATCH, body)
        for at, body in enumerate(bodies)
    ]


def _collector(database_url: str, redis_url: str, shards: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, _COLLECTOR, database_url, redis_url, str(shards)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    return process


def _collected(collectors: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    for process in collectors:
        assert process.stdin
        print(file=process.stdin, flush=True)
    return [json.loads(process.communicate(timeout=120)[0]) for process in collectors]


def _work(nodes: Sequence[Process]) -> Work:
    return Work.of(*[node.client for node in nodes])
