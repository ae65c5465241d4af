"""What runs inside each contender's environment: makes calls when told to, and says how long they took.

Only the standard library here, because every environment imports it. A worker reads one JSON line with
its settings, then one line per slice, ``{"callers": 32, "seconds": 1.0}``, and answers each with a line.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
MODEL, MOST_TOKENS = "small", 16
BODY = json.dumps({"model": MODEL, "messages": ASK, "max_tokens": MOST_TOKENS}).encode()
JSON_HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}

ACall = Callable[[], Awaitable[Any]]
Prepare = Callable[[dict[str, Any]], Awaitable[ACall]]


async def _slice(call: ACall, callers: int, seconds: float) -> dict[str, float]:
    spent: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    ends = began + seconds

    async def caller() -> None:
        while (at := time.perf_counter()) < ends:
            await call()
            spent.append(time.perf_counter() - at)

    await asyncio.gather(*(caller() for _ in range(callers)))
    passed, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent.sort()
    return {
        "calls": len(spent),
        "calls_s": len(spent) / passed,
        "p50_us": spent[len(spent) // 2] * 1e6,
        "p99_us": spent[min(len(spent) - 1, len(spent) * 99 // 100)] * 1e6,
        "cpu_us": cpu / len(spent) * 1e6,
        "rss_mb": _resident_mb(),
    }


def _resident_mb() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # its maximum, which a child inherits from what it was forked from
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _serve(prepare: Prepare) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    settings = json.loads(sys.stdin.readline())
    call = await prepare(settings)
    await call()  # a contender that cannot answer says so before it is measured
    print(json.dumps({"ready": True}), file=out, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        asked = json.loads(line)
        answer = await _slice(call, asked["callers"], asked["seconds"])
        print(json.dumps(answer), file=out, flush=True)


def serve(prepare: Prepare) -> None:
    """Serve slices until standard input ends."""
    asyncio.run(_serve(prepare))
    os._exit(0)  # sessions that were never closed are nobody's concern here
