"""Eight processes, some leasing and some not: by the clock they share, never above burst and rate."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from mesh_store.model import Charge, Limit
from tests.limits.leasing_world import excess, most_in_a_period

# A process with everything a caller has, but for the provider. A call is noted when it may go, by the wall
# clock, which the server on this machine decides by too. Whoever was descheduled in that moment cannot say
# when it was: these calls are left out, and what is left is true to a fifth of a unit.
CALLER = """
import json, random, sys, time
import msgspec
from mesh_store.model import Charge
from mesh_store.model.facts import Settlement
from mesh_store.redis import connect
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedLimiter
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_keeper import LeaseKeeper
from mesh_store.redis.leasing import LeasingLimiter
from mesh_store.redis.outage import OutagePolicy
from mesh_store.telemetry import Recorder

url, seconds, number, begins = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
charges = msgspec.json.decode(sys.argv[5], type=list[Charge])
chance = random.Random(number)
book = LeaseBook() if number % 4 else None
recorder = Recorder(None, url, leases=book)
if book:
    keeper = LeaseKeeper(book, lambda: LeasingLimiter(connect(url, deadline=5)), lambda: 8)
limiter = GuardedLimiter(connect(url, deadline=5), Guard(Breaker(), OutagePolicy(), book, recorder.flush))
noted, leased, refused, unsure, running = [], 0, 0, 0, []
time.sleep(max(0.0, begins - time.time()))
ends = time.monotonic() + seconds
while time.monotonic() < ends or (book and not leased and time.monotonic() < ends + 60):  # it may be busy
    before = time.time_ns() // 1000
    decision = limiter.reserve(charges)
    after = time.time_ns() // 1000
    if decision.admitted:
        by_lease = book is not None and decision.reservation.id in book._running
        leased += by_lease
        if not by_lease:
            noted.append(decision.reservation.reserved_at_us)
        elif after - before < 200:
            noted.append(before)
        else:
            unsure += 1
        running.append(decision.reservation)
    else:
        refused += 1
    while running and (len(running) > 20 or chance.random() < 0.5):
        done = running.pop(chance.randrange(len(running)))
        recorder.settle(Settlement(done, tuple(charge.amount for charge in done.charges)))
    time.sleep(chance.choice((0, 0.001, 0.004)))
print(json.dumps([noted, leased, refused, unsure]))
sys.stdout.flush()
if number % 3 == 0:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""

LIMITS = [
    Limit(amount=1_000, period_us=1_000_000, burst=600),
    Limit(amount=1_000, period_us=1_000_000, burst=400, hard=True),
]


def run(url: str, charges: list[Charge], seconds: float) -> list[Any]:
    """Return per process: when its calls could go, how many were leased, refused, and left out."""
    import time

    argument, begins = msgspec.json.encode(charges).decode(), time.time() + 1.5
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CALLER, url, str(seconds), str(number), str(begins), argument],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in running]


def check(url: str, tag: str, limit: Limit, seconds: float) -> None:
    charges = [
        Charge(f"{{{tag}}}:q:a", limit, 1),
        Charge(f"{{{tag}}}:q:b", Limit(amount=10**6, period_us=1_000_000), 10),
        Charge(f"{{{tag}}}:q:c", Limit(amount=900, period_us=60_000_000, kind="slots"), 1),
    ]
    told = run(url, charges, seconds)
    times = sorted(at_us for noted, *_ in told for at_us in noted)
    assert sum(leased for _, leased, *_ in told) > 0
    spent = [(at_us, 1) for at_us in times]
    assert excess(spent, limit) < 1
    if limit.hard:
        assert most_in_a_period(spent, limit) <= limit.amount


def test_eight_processes_with_and_without_leases(server: Any, tag: str) -> None:
    check(server.url, tag, LIMITS[0], 1.5)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", LIMITS, ids=["soft", "hard"])
def test_for_ten_seconds(server: Any, tag: str, limit: Limit, seed: int) -> None:
    check(server.url, f"{tag}{seed}", limit, 10)
