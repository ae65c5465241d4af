"""Bringing in the facts that are still on their way, for whoever asks for a report now."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from mesh_plugins.cli.control import Place

if TYPE_CHECKING:
    from mesh_store.telemetry.collector import Collector

#: Seconds another collector may take to commit what it was given.
OTHERS_S = 10.0
_POLL_S = 0.02


async def collect_now(found: Place) -> bool:
    """Bring in what dead processes left and what waits in the stream.

    A living process ships its ring within milliseconds, or says ``mesh.flush()``.

    Returns:
        True when everything that was in the stream is committed, whoever collected it.
    """
    from mesh_store.redis import connect_async
    from mesh_store.telemetry import drain
    from mesh_store.telemetry.collector import Collector

    home, shards = found.settings.home, found.settings.telemetry_shards
    await asyncio.to_thread(drain, home, found.redis_url, found.telemetry_redis_url, shards=shards)
    redis: Any = connect_async(found.telemetry_redis_url, deadline=5.0)
    # Budgets live where the limits are: told to another server, they would stay open until their window ends.
    collector = Collector(found.session_url, found.telemetry_redis_url, settle_redis_url=found.redis_url)
    try:
        return await _until_committed(collector, redis)
    finally:
        await collector.close()
        await redis.aclose()


async def _until_committed(collector: Collector, redis: Any) -> bool:
    """An entry leaves the stream when it is committed, so wait until those of now have left."""
    from mesh_store.redis.stream_reader import streams_of

    last = {stream: await redis.xrevrange(stream, count=1) for stream in await streams_of(redis)}
    waiting = {stream: found[0][0] for stream, found in last.items() if found}
    if not waiting:
        return True
    deadline = time.monotonic() + OTHERS_S
    while True:
        await collector.collect_once()
        left = [await redis.xrange(stream, max=newest, count=1) for stream, newest in waiting.items()]
        if not any(left):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
