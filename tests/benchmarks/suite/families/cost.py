"""What one call costs each engine: the basis of what to run at which rate.

Processor time and bytes, which hold on a busy machine, too; rates follow from them by arithmetic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import asyncpg
import redis
from bench_usage import SIZE

from mesh_plugins.testing.playground import Playground
from mesh_store.redis.stream import Batch, stream_key
from mesh_store.telemetry.collector import Collector
from suite import services
from suite.book import Page
from suite.contenders import Contender, Ground
from suite.processors import Work, postgres_s, postmaster
from suite.rounds import working
from suite.stage import Stage

from . import exporting, idling

#: What a team is usually bound by, far above what is called.
LIMITS = ("900M requests/min", "900M tokens/min", "$900000/day", "9000 concurrent")
CALLERS = 32
CALLER, LIMITS_AT, FACTS_AT = "Cost of a call: the caller", "Cost of a call: limits", "Cost of a call: facts"
_WITH, _WITHOUT = "leases on", "leases off"


class Place(NamedTuple):
    """The engines of one run: limits and facts apart, so that each is measured by itself."""

    playground: Playground
    ground: Ground
    limits: redis.Redis
    facts_url: str
    facts: redis.Redis


def run(page: Page, stage: Stage) -> None:
    """Measure calls, then what becomes of their facts, then processes that do nothing."""
    seconds = 1.0 if stage.quick else 8.0
    with _place(stage) as place:
        calls = 0
        for leases in (_WITHOUT, _WITH):
            calls += _calling(page, place, leases, seconds)
        _arrived(page, place, calls)
        asyncio.run(_collecting(page, place))
    idling.measure(page, 5.0 if stage.quick else 10.0)
    exporting.measure(page, 2_000 if stage.quick else 10_000, stage.rounds)


@contextmanager
def _place(stage: Stage) -> Iterator[Place]:
    with ExitStack() as stack:
        playground = stack.enter_context(Playground(limits=LIMITS))
        url = stack.enter_context(services.upstream())
        facts_url = stack.enter_context(services.valkey())
        playground.admin.update_provider("east", base_url=url)
        playground.wait_for_budgets("fast")
        limits, facts = (
            stack.enter_context(redis.Redis.from_url(at)) for at in (playground.redis_url, facts_url)
        )
        yield Place(playground, Ground(url, facts_url, stage.environments), limits, facts_url, facts)


def _calling(page: Page, place: Place, leases: str, seconds: float) -> int:
    """Make calls; return how many facts they leave."""
    variables = {"MESH_TELEMETRY_REDIS_URL": place.facts_url, "MESH_LEASES": leases.rsplit(maxsplit=1)[-1]}
    mesh = Contender(leases, "mesh_callers", variables=variables)
    floor = Contender("floor", "bare_aiohttp")
    with ExitStack() as stack:
        bare = stack.enter_context(working(floor, place.ground, stack)).slice(CALLERS, seconds / 2)
        worker = stack.enter_context(working(mesh, place.ground, stack))
        warm = worker.slice(CALLERS, 0.5)
        background = _background(place.limits, seconds + 1)
        before = Work.of(place.limits)
        told = worker.slice(CALLERS, seconds)
        time.sleep(1)  # the worker's thread settles and hands over what the ring still holds
        done = Work.of(place.limits).since(before).since(background)
        calls = told["calls"]
        page.tell(CALLER, leases, "CPU", "us", told["cpu_us"])
        page.tell(CALLER, leases, "CPU beyond posting the same bytes", "us", told["cpu_us"] - bare["cpu_us"])
        page.tell(CALLER, leases, "memory", "MiB", told["rss_mb"])
        page.tell(LIMITS_AT, leases, "scripts", "", done.scripts / calls)
        page.tell(LIMITS_AT, leases, "server's CPU", "us", done.cpu_s * 1e6 / calls)
        page.tell(LIMITS_AT, leases, "bytes in", "B", done.received / calls)
        page.tell(LIMITS_AT, leases, "bytes out", "B", done.sent / calls)
    return int(warm["calls"] + told["calls"]) + 1


def _background(server: redis.Redis, seconds: float) -> Work:
    """Return what a server does by itself in so long: processes poll it."""
    before = Work.of(server)
    time.sleep(seconds)
    return Work.of(server).since(before)


def _arrived(page: Page, place: Place, calls: int) -> None:
    """Wait for the facts, and weigh them as they wait; what the counting costs is taken off."""
    counting, deadline = Work(0.0, 0, 0, 0, 0), time.monotonic() + 60
    while True:
        work = Work.of(place.facts)
        count = sum(Batch.parse(fields).facts for _, fields in place.facts.xrange(stream_key(0)))
        if count >= calls:
            break
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} of {calls} facts reached the stream")
        counting = Work.of(place.facts).since(work).plus(counting)
        time.sleep(0.2)
    work = work.since(counting)
    page.tell(FACTS_AT, "on its way", "server's CPU", "us", work.cpu_s * 1e6 / count)
    page.tell(FACTS_AT, "on its way", "bytes in", "B", work.received / count)
    memory = place.facts.memory_usage(stream_key(0), samples=0)
    page.tell(FACTS_AT, "on its way", "memory while it waits", "B", float(memory or 0) / count)


async def _collecting(page: Page, place: Place) -> None:
    """Bring the facts into Postgres, and tell what it cost whom."""
    url = place.playground.database_url.replace("+asyncpg", "", 1)
    bare = await asyncpg.connect(url)
    leader = await postmaster(bare)
    collector = Collector(
        place.playground.database_url, place.facts_url, settle_redis_url=place.playground.redis_url
    )
    size, wal = await bare.fetchval(SIZE, "usage_events%"), await bare.fetchval("SELECT pg_current_wal_lsn()")
    before, cpu, used = Work.of(place.facts), time.process_time(), postgres_s(leader)
    done = await collector.collect_once()
    cpu, used = time.process_time() - cpu, postgres_s(leader) - used
    work, count = Work.of(place.facts).since(before), done.facts
    size = await bare.fetchval(SIZE, "usage_events%") - size
    wal = await bare.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", wal)
    await collector.close()
    await bare.close()
    page.tell(FACTS_AT, "collected", "server's CPU", "us", work.cpu_s * 1e6 / count)
    page.tell(FACTS_AT, "collector", "CPU", "us", cpu * 1e6 / count)
    page.tell(FACTS_AT, "Postgres", "CPU", "us", used * 1e6 / count)
    page.tell(FACTS_AT, "Postgres", "disk", "B", size / count)
    page.tell(FACTS_AT, "Postgres", "write-ahead log", "B", float(wal) / count)
