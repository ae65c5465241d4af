"""The worker of `bench_limiter` that measures throttled-py; runs in an interpreter of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import Any

import throttled
import throttled.asyncio

LIMIT, PATIENCE_S = 10**6, 20

#: Checks a second, and the seconds of processor they took.
Measured = tuple[float, float]


def of(module: Any, url: str, key: str, rate: int = LIMIT, burst: int = LIMIT, **options: Any) -> Any:
    quota = module.rate_limiter.per_sec(rate, burst=burst)
    return module.Throttled(
        key=key, using="gcra", quota=quota, store=module.store.RedisStore(server=url), **options
    )


def in_threads(url: str, count: int, threads: int, seconds: float) -> Measured:
    limiters = [of(throttled, url, f"bench{number}") for number in range(count)]
    for limiter in limiters:
        limiter.limit()
    counts = [0] * threads
    before = time.process_time()
    ends = time.perf_counter() + seconds

    def run(place: int) -> None:
        while time.perf_counter() < ends:
            for limiter in limiters:
                limiter.limit()
            counts[place] += 1

    running = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / seconds, time.process_time() - before


async def in_tasks(url: str, count: int, tasks: int, seconds: float) -> Measured:
    limiters = [of(throttled.asyncio, url, f"bench{number}") for number in range(count)]
    for limiter in limiters:
        await asyncio.gather(*[limiter.limit() for _ in range(tasks)])
    before = time.process_time()
    done = 0
    ends = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            for limiter in limiters:
                await limiter.limit()
            done += 1

    await asyncio.gather(*[run() for _ in range(tasks)])
    return done / seconds, time.process_time() - before


async def waiters(url: str, callers: int) -> tuple[list[int], float]:
    """Return the callers in the order they were admitted, and how long it took."""
    limiter = of(throttled.asyncio, url, "wait", 40, 10, timeout=PATIENCE_S)
    order: list[int] = []
    started = time.perf_counter()

    async def wait(number: int) -> None:
        result = await limiter.limit()
        assert not result.limited
        order.append(number)

    await asyncio.gather(*[wait(number) for number in range(callers)])
    return order, time.perf_counter() - started


def measure(url: str, case: str, seconds: float) -> object:
    if case == "waiters":
        return asyncio.run(waiters(url, int(seconds)))
    how, what = case.split()
    if how.startswith("async"):
        return asyncio.run(in_tasks(url, int(what), int(how.removeprefix("async")), seconds))
    return in_threads(url, int(what), 1 if how == "sync1" else int(how.removeprefix("threads")), seconds)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(measure(sys.argv[1], *json.loads(line))), flush=True)
