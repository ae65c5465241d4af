"""Delivering the rings of dead processes now: `mesh drain`, and the collector's host."""

from __future__ import annotations

import time
from pathlib import Path

from mesh_store.redis.client import connect
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.adoption import Adopted, Adoption
from mesh_store.telemetry.recorder import SHIPPING_DEADLINE_S, _limiter
from mesh_store.telemetry.settling import Away, Settlements, Settler
from mesh_store.telemetry.watch import Watch


def drain(
    home: Path | str,
    redis_url: str,
    telemetry_redis_url: str | None = None,
    *,
    timeout_s: float = 10.0,
    wait_collected_s: float = 0.0,
    settler: Settler | None = None,
    shards: int = 1,
) -> Adopted:
    """Settle and ship what dead processes left under ``home``; rings that Postgres has are removed.

    Args:
        home: the directory whose ``rings`` are looked at.
        redis_url: the server that holds the limits.
        telemetry_redis_url: the server that takes the facts; None means the same.
        timeout_s: seconds for all of it.
        wait_collected_s: seconds to wait for the commit of each ring; a ring that is shipped but
            not committed stays, and a later drain removes it.
        settler: settles and cancels; None makes a limiter on ``redis_url``.
        shards: number of streams the facts are spread over.
    """
    facts_url = telemetry_redis_url or redis_url
    stream = FactStream(connect(facts_url, deadline=SHIPPING_DEADLINE_S), shards=shards)
    settlements = Settlements(settler or _limiter(redis_url))
    watch = Watch(stream)
    adoption = Adoption(Path(home), settlements, stream, watch)
    deadline = time.monotonic() + timeout_s
    pause: float | None = 0.0
    try:
        while pause is not None and time.monotonic() < deadline:
            try:
                pause = adoption.step(time.monotonic(), keep_s=wait_collected_s)
            except Away:
                watch.doubt()
                pause = 0.2
            time.sleep(pause or 0.0)
    finally:
        adoption.close()
    return adoption.report
