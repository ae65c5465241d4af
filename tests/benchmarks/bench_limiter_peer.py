"""The worker of `bench_limiter` that measures throttled-py; runs in an interpreter of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

import throttled
import throttled.asyncio


def in_threads(url: str, threads: int, seconds: float) -> float:
    quota = throttled.rate_limiter.per_sec(10**6, burst=10**6)
    limiter = throttled.Throttled(
        key="bench", using="gcra", quota=quota, store=throttled.store.RedisStore(server=url)
    )
    limiter.limit()
    counts = [0] * threads
    ends = time.perf_counter() + seconds

    def run(place: int) -> None:
        while time.perf_counter() < ends:
            limiter.limit()
            counts[place] += 1

    running = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / seconds


async def in_tasks(url: str, tasks: int, seconds: float) -> float:
    quota = throttled.asyncio.rate_limiter.per_sec(10**6, burst=10**6)
    limiter = throttled.asyncio.Throttled(
        key="bench", using="gcra", quota=quota, store=throttled.asyncio.store.RedisStore(server=url)
    )
    await limiter.limit()
    count = 0
    ends = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await limiter.limit()
            count += 1

    await asyncio.gather(*[run() for _ in range(tasks)])
    return count / seconds


def measure(url: str, case: str, seconds: float) -> float:
    how, _ = case.split()
    if how.startswith("async"):
        return asyncio.run(in_tasks(url, int(how.removeprefix("async")), seconds))
    return in_threads(url, 1 if how == "sync1" else int(how.removeprefix("threads")), seconds)


if __name__ == "__main__":
    for line in sys.stdin:
        print(measure(sys.argv[1], *json.loads(line)), flush=True)
