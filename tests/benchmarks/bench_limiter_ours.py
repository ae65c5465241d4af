"""The worker of `bench_limiter` that measures our limiter, and a bare PING beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from mesh_store.model import Charge, Limit
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async

PLENTY = Limit(amount=10**9, period_us=1_000_000)

#: Checks a second, and the seconds of processor they took.
Measured = tuple[float, float]


def charges(count: int, amount: int = 1) -> list[Charge]:
    return [Charge(f"{{bench}}:q:limit{number}:requests", PLENTY, amount) for number in range(count)]


def varied(count: int) -> Callable[[], list[Charge]]:
    """Return what makes new charges each time, with amounts nobody remembers."""
    taken, number = charges(count), itertools.count(1)
    return lambda: [Charge(charge.key, charge.limit, next(number) % 99_991) for charge in taken]


def sync_check(url: str, what: str, threads: int) -> Callable[[], Any]:
    if what == "tick":
        return rendezvous(threads)
    client = connect(url, deadline=5)
    if what == "ping":
        return client.ping
    if what == "empty":
        sha, taken = client.script_load("return 1"), charges(4)
        keys = [charge.key for charge in taken]
        return lambda: client.execute_command("EVALSHA", sha, len(keys), *keys, b"x" * 60)
    limiter, taken = Limiter(client), charges(int(what))
    return lambda: limiter.reserve(taken)


def rendezvous(threads: int) -> Callable[[], Any]:
    """Return the least that threads who share a call do: hand something over, sleep, be woken."""
    lock, asleep = threading.Lock(), deque[threading.Lock]()

    def check() -> None:
        mine = threading.Lock()
        mine.acquire()
        with lock:
            asleep.append(mine)
            woken = [asleep.popleft() for _ in range(len(asleep))] if len(asleep) >= threads // 2 else []
        for sleeper in woken:
            sleeper.release()
        mine.acquire(timeout=0.001)

    return check


def in_threads(check: Callable[[], Any], threads: int, seconds: float) -> Measured:
    check()
    counts = [0] * threads
    before = time.process_time()
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
    return sum(counts) / seconds, time.process_time() - before


async def in_tasks(check: Callable[[], Awaitable[Any]], tasks: int, seconds: float) -> Measured:
    await asyncio.gather(*[check() for _ in range(tasks)])
    before = time.process_time()
    count = 0
    ends = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal count
        while time.perf_counter() < ends:
            await check()
            count += 1

    await asyncio.gather(*[run() for _ in range(tasks)])
    return count / seconds, time.process_time() - before


async def asynchronous(url: str, what: str, tasks: int, seconds: float, *, vary: bool) -> Measured:
    async with connect_async(url, deadline=5, max_connections=100) as client:
        limiter = AsyncLimiter(client)
        if what == "ping":
            return await in_tasks(client.ping, tasks, seconds)
        if what == "tick":
            return await in_tasks(woken(), tasks, seconds)
        if what == "empty":
            sha = await client.script_load("return 1")
            keys = [charge.key for charge in charges(4)]
            run: Any = client.execute_command
            return await in_tasks(lambda: run("EVALSHA", sha, len(keys), *keys, b"x" * 60), tasks, seconds)
        if vary:
            make = varied(int(what))
            return await in_tasks(lambda: limiter.reserve(make()), tasks, seconds)
        taken = charges(int(what))
        return await in_tasks(lambda: limiter.reserve(taken), tasks, seconds)


def woken() -> Callable[[], Awaitable[Any]]:
    """Return the least that tasks who share a call do: wait for a future, and be woken together."""
    asleep: list[asyncio.Future[None]] = []

    def wake() -> None:
        for sleeper in asleep:
            sleeper.set_result(None)
        asleep.clear()

    async def check() -> None:
        loop = asyncio.get_running_loop()
        if not asleep:
            loop.call_soon(wake)
        asleep.append(sleeper := loop.create_future())
        await sleeper

    return check


async def waiters(url: str, callers: int) -> tuple[list[int], float]:
    """Return the callers in the order they were admitted, and how long it took."""
    forty = Charge("{bench}:q:wait", Limit(amount=40, period_us=1_000_000, burst=10), 1)
    order: list[int] = []
    started = time.perf_counter()
    async with connect_async(url, deadline=5) as client:
        limiter = AsyncLimiter(client)

        async def wait(number: int) -> None:
            decision = await limiter.reserve([forty], max_wait_us=20_000_000)
            assert decision.admitted
            await asyncio.sleep(decision.wait_us / 1e6)
            order.append(number)

        await asyncio.gather(*[wait(number) for number in range(callers)])
    return order, time.perf_counter() - started


def measure(url: str, case: str, seconds: float) -> object:
    if case == "waiters":
        return asyncio.run(waiters(url, int(seconds)))
    how, what, *vary = case.split()
    if how.startswith("async"):
        tasks = int(how.removeprefix("async"))
        return asyncio.run(asynchronous(url, what, tasks, seconds, vary=bool(vary)))
    threads = 1 if how == "sync1" else int(how.removeprefix("threads"))
    return in_threads(sync_check(url, what, threads), threads, seconds)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(measure(sys.argv[1], *json.loads(line))), flush=True)
