"""Decisions over one server, over sentinels and over clusters of one to three primaries.

Run it as ``python -m tests.benchmarks.bench_topologies [seconds]``. It starts its own servers and prints a
table: medians of interleaved rounds, and ratios to one server. On a machine of two cores all servers and
the caller share them, so more primaries cannot decide more here: what shows is what the way there costs.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from tests.topologies.servers import Cluster, Process, Sentinels, Servers

CALLERS, TEAMS, ROUNDS = 32, 16, 5
MONTH = 30 * 86_400_000_000
LIMIT = Limit(amount=10**9, period_us=MONTH, burst=10**9)


class Seen(NamedTuple):
    """What one round saw.

    Attributes:
        per_s: decisions a second by 32 tasks of 16 teams.
        cpu_us: processor time of the caller's process for each.
        alone_us: what one decision takes when nobody else asks.
    """

    per_s: float
    cpu_us: float
    alone_us: float


def charges(team: int) -> list[Charge]:
    """Four limits of a team."""
    return [Charge(f"{{team{team}}}:q:key:k1:{name}", LIMIT, 1) for name in ("a", "b", "c", "d")]


async def decide(url: str, seconds: float) -> Seen:
    """Run one round."""
    async with connect_async(url, deadline=5, connect_deadline=5) as client:
        limiter = AsyncLimiter(client)
        for team in range(TEAMS):
            await limiter.reserve(charges(team))
        began, count, used = time.perf_counter(), 0, time.process_time()

        async def caller(number: int) -> None:
            nonlocal count
            asked = charges(number % TEAMS)
            while time.perf_counter() - began < seconds:
                await limiter.reserve(asked)
                count += 1

        await asyncio.gather(*map(caller, range(CALLERS)))
        per_s = count / (time.perf_counter() - began)
        cpu_us = (time.process_time() - used) / count * 1e6
        lone = []
        for _ in range(200):
            at = time.perf_counter()
            await limiter.reserve(charges(0))
            lone.append((time.perf_counter() - at) * 1e6)
    return Seen(per_s, cpu_us, statistics.median(lone))


def failover(place: Sentinels | Cluster) -> float:
    """Kill the primary of a team; return the seconds until a caller is answered again."""
    [one, *_] = charges(0)
    victim: Process = place.holder(one.key)
    with connect(place.url, deadline=0.25) as client:
        limiter = Limiter(client)
        limiter.reserve([one])
        victim.kill()
        died = time.perf_counter()
        while True:
            try:
                limiter.reserve([one])
            except QuotaUnavailable:
                time.sleep(0.01)
            else:
                break
        took = time.perf_counter() - died
    place.heal()
    return took


def _row(name: str, seen: list[Seen], base: list[Seen]) -> str:
    """Return medians, each beside the median of its ratios to one server."""
    cells = [f"{name:14}"]
    for field in Seen._fields:
        values = [getattr(each, field) for each in seen]
        ratios = [value / getattr(other, field) for value, other in zip(values, base, strict=True)]
        cells.append(f"{field} {statistics.median(values):6.0f} (x{statistics.median(ratios):.2f})")
    return "  ".join(cells)


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        servers = Servers(Path(folder))
        try:
            sentinels = Sentinels(servers)
            clusters = [Cluster(servers, primaries=count, replicas=0) for count in (1, 2, 3)]
            places = {"one server": servers.start().url, "sentinels": sentinels.url}
            places |= {f"cluster of {n}": each.url for n, each in enumerate(clusters, start=1)}
            rounds = [
                {name: asyncio.run(decide(url, seconds)) for name, url in places.items()}
                for _ in range(ROUNDS)
            ]
            for name in places:
                print(_row(name, [seen[name] for seen in rounds], [seen["one server"] for seen in rounds]))
            for each in clusters:
                for node in each.nodes:
                    node.kill()
            replicated = Cluster(servers)
            for name, place in (("sentinels", sentinels), ("cluster", replicated)):
                took = [failover(place) for _ in range(ROUNDS)]
                print(
                    f"failover, {name}: {statistics.median(took):.2f} s ({min(took):.2f} to {max(took):.2f})"
                )
        finally:
            servers.close()


if __name__ == "__main__":
    main()
