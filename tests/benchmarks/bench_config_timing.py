"""Ways to time a piece of work of `bench_config`."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any


def best(work: Callable[[], Any], repeat: int) -> float:
    """Return the median seconds ``work`` takes."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def cpu(work: Callable[[], Any], repeat: int) -> float:
    """Return the least CPU seconds ``work`` takes: what others do on this machine counts less."""
    times = []
    for _ in range(repeat):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


async def until(holds: Callable[[], bool]) -> None:
    """Wait without keeping the event loop from working."""

    def wait() -> None:
        while not holds():
            time.sleep(0.0005)

    await asyncio.to_thread(wait)
