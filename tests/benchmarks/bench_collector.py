"""A collector in a process of its own, for the suite: takes what lies in the streams, then says what it did.

``python bench_collector.py DATABASE_URL REDIS_URL SHARDS``; it waits for a line before it begins.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from mesh_store.telemetry.collector import Collector


async def main(database_url: str, redis_url: str, shards: int) -> None:
    """Collect once."""
    collector = Collector(database_url, redis_url, shards=shards)
    await collector.collect_once()  # connected, and a member of the group
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.perf_counter(), time.process_time()
    done = await collector.collect_once()
    told = {"facts": done.facts, "s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    print(json.dumps(told), flush=True)
    await collector.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
