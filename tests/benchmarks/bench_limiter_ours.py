"""The worker of `bench_limiter` that measures our limiter, and a bare PING beside it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mesh_store.model import Charge, Limit
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async

PLENTY = Limit(amount=10**9, period_us=1_000_000)


def charges(count: int) -> list[Charge]:
    return [Charge(f"{{bench}}:q:limit{number}:requests", PLENTY, 1) for number in range(count)]


def sync_check(url: str, what: str) -> Callable[[], Any]:
    client = connect(url, deadline=5)
    if what == "ping":
        return client.ping
    limiter, taken = Limiter(client), charges(int(what))
    return lambda: limiter.reserve(taken)


def in_threads(check: Callable[[], Any], threads: int, seconds: float) -> float:
    check()
    counts = [0] * threads
    ends = time.perf_counter() + seconds

    def run(place: int) -> None:
        while time.perf_counter() < ends:
            check()
            counts[place] += 1

    running = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / seconds


async def in_tasks(check: Callable[[], Awaitable[Any]], tasks: int, seconds: float) -> float:
    await check()
    count = 0
    ends = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await check()
            count += 1

    await asyncio.gather(*[run() for _ in range(tasks)])
    return count / seconds


async def asynchronous(url: str, what: str, tasks: int, seconds: float) -> float:
    async with connect_async(url, deadline=5, max_connections=100) as client:
        if what == "ping":
            return await in_tasks(client.ping, tasks, seconds)
        limiter, taken = AsyncLimiter(client), charges(int(what))
        return await in_tasks(lambda: limiter.reserve(taken), tasks, seconds)


def measure(url: str, case: str, seconds: float) -> float:
    how, what = case.split()
    if how.startswith("async"):
        return asyncio.run(asynchronous(url, what, int(how.removeprefix("async")), seconds))
    threads = 1 if how == "sync1" else int(how.removeprefix("threads"))
    return in_threads(sync_check(url, what), threads, seconds)


if __name__ == "__main__":
    for line in sys.stdin:
        print(measure(sys.argv[1], *json.loads(line)), flush=True)
