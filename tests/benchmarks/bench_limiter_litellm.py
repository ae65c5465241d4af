"""The worker of `bench_limiter` that measures what LiteLLM's proxy does before a call, outside that proxy.

Its `parallel_request_limiter_v3` with requests and tokens per minute on four scopes: key, user, team and
customer. It runs here without the proxy's batching of one request's round trips.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from litellm.caching.caching import DualCache
from litellm.caching.redis_cache import RedisCache
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.hooks.parallel_request_limiter_v3 import _PROXY_MaxParallelRequestsHandler_v3
from litellm.proxy.utils import InternalUsageCache

PLENTY = 10**9

#: Checks a second, and the seconds of processor they took.
Measured = tuple[float, float]


async def in_tasks(url: str, tasks: int, seconds: float) -> Measured:
    cache = DualCache(redis_cache=RedisCache(url=url))
    limiter = _PROXY_MaxParallelRequestsHandler_v3(InternalUsageCache(cache))
    scopes: dict[str, Any] = {
        f"{scope}{unit}_limit": PLENTY
        for scope in ("", "user_", "team_", "end_user_")
        for unit in ("rpm", "tpm")
    }
    caller = UserAPIKeyAuth(api_key="k", user_id="u", team_id="t", end_user_id="e", **scopes)

    async def check() -> None:
        # A fresh body a call: the hook keeps what it reserved in it.
        data = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
        await limiter.async_pre_call_hook(caller, cache, data, "completion")

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


def measure(url: str, case: str, seconds: float) -> Measured:
    tasks = int(case.split(maxsplit=1)[0].removeprefix("async"))
    return asyncio.run(in_tasks(url, tasks, seconds))


if __name__ == "__main__":
    # LiteLLM prints as it pleases; figures go where only figures go.
    figures, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(measure(sys.argv[1], *json.loads(line))), file=figures, flush=True)
