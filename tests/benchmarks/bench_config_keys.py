"""What keys cost where nobody uses them, and where they are looked up: part of `bench_config`."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench_config_source import SIGNER, Source, document
from bench_config_timing import best, until

from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect_async
from mesh_store.sync import Subscriber
from mesh_store.sync.publisher import publish

#: A client in a process of its own, which says how much memory it has whenever it is asked.
IDLE = """
import sys
from mesh_store.sync import Subscriber
with Subscriber(sys.argv[1], poll_s=0.2) as subscriber:
    subscriber.snapshot()
    for line in sys.stdin:
        while subscriber.keys.place is None or subscriber.keys.place.revision < int(line):
            subscriber.wait(2**62, 0.2)
        rollup = open("/proc/self/smaps_rollup").read().splitlines()[1:]
        fields = dict(line.split(":", 1) for line in rollup)
        print(sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")), flush=True)
"""


@contextlib.contextmanager
def idle(url: str) -> Iterator[Callable[[int], int]]:
    """Run a client in a process of its own; yields a function: its memory once it knows of so many keys."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", IDLE, url], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write, read = process.stdin, process.stdout

        def memory(keys: int) -> int:
            print(keys, file=write, flush=True)
            return int(read.readline())

        yield memory
        write.close()


async def questions(redis: Any) -> int:
    """Return how many look-ups of keys the server has answered; the polls of clients are among them."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


async def growing_keys(url: str, sizes: Sequence[int]) -> dict[int, dict[tuple[str, str], float]]:
    """Fill in ever more keys beside an idle client, and look some up at each size.

    Returns:
        For each number of keys, what was measured and its unit.
    """
    found = {}
    async with connect_async(url, deadline=10) as redis:
        await redis.flushall()
        source = Source(document(1, 1))
        await publish(source, redis, signer=SIGNER)
        with idle(url) as memory:
            before = await asyncio.to_thread(memory, 0)
            for size in sizes:
                more, source.keys = size - source.keys, size
                started = time.perf_counter()
                await publish(source, redis, signer=SIGNER)
                found[size] = {("keys published", "/s"): more / (time.perf_counter() - started)}
                grown = await asyncio.to_thread(memory, size) - before
                found[size]["what an idle client grows by", "KB"] = float(grown)
                found[size] |= await _weighed(redis, size) | await _looked_up(url, source, redis)
    return found


async def _weighed(redis: Any, size: int) -> dict[tuple[str, str], float]:
    used = (await redis.info("memory"))["used_memory_dataset"]
    whats = {"a key": 1, "a key with two limits": 10}
    weights = {
        (f"{what} in Redis", "B"): float(await redis.memory_usage(channel.key_name(at.to_bytes(32, "big"))))
        for what, at in whats.items()
    }
    return {**weights, ("all of Redis", "MB"): used / 1e6}


async def _looked_up(url: str, source: Source, redis: Any) -> dict[tuple[str, str], float]:
    digests = [n.to_bytes(32, "big") for n in range(1, min(source.keys, 2_000) + 1)]
    with Subscriber(url, poll_s=0.2) as subscriber:
        subscriber.snapshot()
        await until(lambda: subscriber.keys.place == (source.epoch, source.keys))
        asked = await questions(redis)
        first = best(lambda: [subscriber.keys.lookup(digest) for digest in digests], 1)
        asked = await questions(redis) - asked
        again = best(lambda: [subscriber.keys.lookup(digest) for digest in digests], 20)
    return {
        ("first look-up", "us"): 1e6 * first / len(digests),
        ("round trips of a first look-up", ""): asked / len(digests),
        ("later look-ups", "us"): 1e6 * again / len(digests),
    }
