"""What live configuration costs: sizes, look-ups, and commit-to-visible against a bare PUBLISH.

Run ``python tests/benchmarks/bench_config.py [KEYS] [keys|sizes|visible …]``, for example with
``1000000 keys``; it starts a Valkey of its own and prints a table. Every tenth key has two limits of its
own. Figures of one run are comparable with each other, not with those of another machine: latencies are
given as ratios to what the bare transport needed in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench_config_keys import growing_keys
from bench_config_source import PATTERNS, SIGNER, Source, document
from bench_config_timing import best, cpu, until
from suite.services import valkey

from mesh_store.model.signing import seal
from mesh_store.model.snapshot import Snapshot, encode
from mesh_store.redis.client import aprimaries, connect, connect_async
from mesh_store.sync import Subscriber
from mesh_store.sync.delta import place_of
from mesh_store.sync.publisher import publish

TEAMS, ALIASES = 1_000, 10_000
CLIENTS, COMMITS = 50, 150
#: Hears what was measured: what, how much, its unit, and the bound we hold ourselves to.
Tell = Callable[[str, float, str, str], None]


def show(what: str, value: float, unit: str, limit: str = "") -> None:
    """Print a line of the table."""
    print(f"{what:<58}{value:>12.4g} {unit:<3}  {limit}")


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    ordered = sorted(latencies)
    return 1e3 * ordered[len(ordered) // 2], 1e3 * ordered[int(len(ordered) * 0.99)]


async def sizes(url: str, tell: Tell = show) -> None:
    """Load and resolve a large configuration; apply one change to it."""
    source = Source(document(TEAMS, ALIASES))
    async with connect_async(url, deadline=10) as redis:
        await redis.flushall()
        started = time.perf_counter()
        await publish(source, redis, signer=SIGNER)
        tell(f"publish {ALIASES} aliases x {TEAMS} teams", time.perf_counter() - started, "s", "")
        with Subscriber(url, poll_s=60) as first:
            first.snapshot()

        def load() -> None:
            with Subscriber(url, poll_s=60) as subscriber:
                subscriber.snapshot()

        tell("load it (connect, read, verify, decode, index)", 1e3 * best(load, 9), "ms", "< 200 ms")
        tell("CPU time of that", 1e3 * cpu(load, 5), "ms", "")
        await changes(url, source, redis, tell)
    lookups(Snapshot(await source.compile_snapshot()), tell)


def lookups(snapshot: Snapshot, tell: Tell) -> None:
    """Resolve names by a configuration in memory; weigh it."""
    names = [f"alias-{n}" for n in range(0, ALIASES, 7)]
    team = snapshot.document.teams[5].id

    def resolve() -> None:
        for name in names:
            snapshot.alias(name, team)

    tell("resolve an alias", 1e6 * best(resolve, 50) / len(names), "us", "< 5 us")
    names = [f"vendor-{n % PATTERNS}/model-{n}" for n in range(1_000)]
    tell("resolve a name that a pattern catches", 1e6 * best(resolve, 50) / len(names), "us", "< 5 us")
    snapshots = [Snapshot(snapshot.document) for _ in range(9)]

    def first() -> None:
        fresh = snapshots.pop()
        for name in names:
            fresh.alias(name, team)

    tell("CPU time of the first time", 1e6 * cpu(first, 9) / len(names), "us", "< 5 us")
    body = encode(snapshot.document)
    tell("size of the document", len(body) / 1e6, "MB", "")
    sealing = best(lambda: seal("snapshot", place_of(snapshot.document), body, signer=SIGNER), 5)
    tell("seal and sign it", 1e3 * sealing, "ms", "")


async def changes(url: str, source: Source, redis: Any, tell: Tell) -> None:
    """Change one alias of the large configuration at a time."""
    with Subscriber(url, poll_s=60) as subscriber:
        subscriber.snapshot()
        seen, published = [], []
        for _ in range(9):
            source.commit()
            started = time.perf_counter()
            await publish(source, redis, signer=SIGNER)
            published.append(time.perf_counter() - started)
            await asyncio.to_thread(subscriber.wait, source.revision, 10)
            seen.append(time.perf_counter() - started)
        assert subscriber.status().refused == 0
    tell("publish one change of it", 1e3 * statistics.median(published), "ms", "")
    tell("until a caller holds it", 1e3 * statistics.median(seen), "ms", "")


async def bare(url: str) -> tuple[float, float]:
    """Measure PUBLISH to message in as many bare clients."""
    arrived: list[float] = []
    lock, ready = threading.Lock(), threading.Barrier(CLIENTS + 1)

    def listen() -> None:
        with connect(url, deadline=30) as client, client.pubsub() as pubsub:
            pubsub.subscribe("bare")
            pubsub.get_message(timeout=10)
            ready.wait()
            for _ in range(COMMITS):
                message = pubsub.get_message(timeout=30)
                now = time.perf_counter()
                with lock:
                    arrived.append(now - float(message["data"]))

    threads = [threading.Thread(target=listen) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(ready.wait)
    async with connect_async(url, deadline=10) as redis:
        for number in range(COMMITS):
            await redis.publish("bare", repr(time.perf_counter()))
            await until(lambda: len(arrived) >= CLIENTS * (number + 1))  # noqa: B023
    for thread in threads:
        thread.join()
    return percentiles(arrived)


async def visible(url: str, clients: int = CLIENTS, commits: int = COMMITS) -> tuple[float, float]:
    """Measure commit to visible in as many subscribers, publishing included."""
    source = Source(document(20, 50))
    committed: dict[int, float] = {}
    arrived: list[float] = []

    def changed(_: Snapshot | None, new: Snapshot) -> None:
        if new.revision in committed:
            arrived.append(time.perf_counter() - committed[new.revision])

    async with connect_async(url, deadline=10) as redis:
        for node in await aprimaries(redis):
            await node.flushall()
        await publish(source, redis, signer=SIGNER)
        with contextlib.ExitStack() as stack:
            for _ in range(clients):
                stack.enter_context(Subscriber(url, on_change=changed)).snapshot()
            for number in range(commits):
                source.commit()
                committed[source.revision] = time.perf_counter()
                await publish(source, redis, signer=SIGNER)
                await until(lambda: len(arrived) >= clients * (number + 1))  # noqa: B023
    return percentiles(arrived)


async def spreading(url: str, tell: Tell = show) -> None:
    """Measure how long a commit takes to be everywhere, beside a bare PUBLISH."""
    for what, measured in (("bare PUBLISH to message", bare), ("commit to visible", visible)):
        p50, p99 = await measured(url)
        tell(f"{what}, {CLIENTS} clients, p50", p50, "ms", "")
        tell(f"{what}, {CLIENTS} clients, p99", p99, "ms", "")


async def keys(url: str, count: int, tell: Tell = show) -> None:
    """Fill in many keys beside an idle client, then look some up."""
    [told] = (await growing_keys(url, [count])).values()
    bounds = {"what an idle client grows by": "< 1000 KB", "round trips of a first look-up": "1"}
    for (what, unit), value in told.items():
        tell(f"{count} keys: {what}", value, unit, bounds.get(what, ""))


def main() -> None:
    """Measure everything, or the parts that are named."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    parts = [word for word in sys.argv[1:] if not word.isdigit()] or ["sizes", "visible", "keys"]
    with valkey() as url:
        if "sizes" in parts:
            asyncio.run(sizes(url))
        if "visible" in parts:
            asyncio.run(spreading(url))
        if "keys" in parts:
            asyncio.run(keys(url, numbers[0] if numbers else 100_000))


if __name__ == "__main__":
    main()
