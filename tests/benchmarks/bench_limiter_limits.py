"""The worker of `bench_limiter` that measures the library limits; runs in an interpreter of its own.

A fixed window, its cheapest strategy: one counter, which may let twice the limit through at a window's edge.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage as AsyncRedisStorage
from limits.aio.strategies import FixedWindowRateLimiter as AsyncFixedWindow
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

PLENTY = 10**9

#: Checks a second, and the seconds of processor they took.
Measured = tuple[float, float]


def in_a_thread(url: str, count: int, seconds: float) -> Measured:
    limiter = FixedWindowRateLimiter(storage_from_string(url))
    item, names = RateLimitItemPerSecond(PLENTY), [f"bench{number}" for number in range(count)]
    for name in names:
        limiter.hit(item, name)
    before, ends, done = time.process_time(), time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        for name in names:
            limiter.hit(item, name)
        done += 1
    return done / seconds, time.process_time() - before


async def in_tasks(url: str, count: int, tasks: int, seconds: float) -> Measured:
    limiter: Any = AsyncFixedWindow(AsyncRedisStorage(f"async+{url}", implementation="redispy"))
    item, names = RateLimitItemPerSecond(PLENTY), [f"bench{number}" for number in range(count)]

    async def check() -> None:
        for name in names:
            await limiter.hit(item, name)

    await asyncio.gather(*[check() for _ in range(tasks)])
    before, ends, done = time.process_time(), time.perf_counter() + seconds, 0

    async def run() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await check()
            done += 1

    await asyncio.gather(*[run() for _ in range(tasks)])
    return done / seconds, time.process_time() - before


def measure(url: str, case: str, seconds: float) -> Measured:
    how, what = case.split()
    if how.startswith("async"):
        return asyncio.run(in_tasks(url, int(what), int(how.removeprefix("async")), seconds))
    return in_a_thread(url, int(what), seconds)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(measure(sys.argv[1], *json.loads(line))), flush=True)
