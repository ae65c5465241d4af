"""Processes that hammer one limit never exceed its bound, by the server's own clock."""

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from mesh_store.model import Charge, Limit

HAMMER = """
import json, sys, time
import msgspec
from mesh_store.model import Charge
from mesh_store.redis import Limiter, connect

url, seconds, charges = sys.argv[1], float(sys.argv[2]), msgspec.json.decode(sys.argv[3], type=list[Charge])
granted, asked = [], 0
with connect(url, deadline=5) as client:
    limiter = Limiter(client)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        decision = limiter.reserve(charges)
        asked += 1
        if decision.admitted:
            granted.append(decision.reservation.reserved_at_us)
print(json.dumps([asked, granted]))
"""


def hammer(url: str, charges: list[Charge], processes: int, seconds: float) -> tuple[int, list[int]]:
    """Return how often all asked and when each grant was given, in order."""
    import msgspec

    argument = msgspec.json.encode(charges).decode()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, url, str(seconds), argument], stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    answers: list[Any] = [json.loads(process.communicate(timeout=240)[0]) for process in running]
    return sum(asked for asked, _ in answers), sorted(itertools.chain(*[granted for _, granted in answers]))


def excess(granted: list[int], limit: Limit) -> float:
    """Return by how much any stretch of time exceeded burst + rate * T; at most 0 when none did."""
    rate = (limit.amount - limit.burst if limit.hard else limit.amount) / limit.period_us
    lowest, worst = float("inf"), float("-inf")
    for number, at_us in enumerate(granted):
        lowest = min(lowest, number - rate * (at_us - granted[0]))
        worst = max(worst, number + 1 - rate * (at_us - granted[0]) - lowest)
    return worst - limit.burst


def most_in_a_period(granted: list[int], limit: Limit) -> int:
    worst, start = 0, 0
    for end, at_us in enumerate(granted):
        while granted[start] <= at_us - limit.period_us:
            start += 1
        worst = max(worst, end - start + 1)
    return worst


LIMITS = [
    # So little that a busy machine asks for more, too.
    Limit(amount=100, period_us=1_000_000, burst=20),
    Limit(amount=40, period_us=500_000, hard=True),
]


def check(url: str, tag: str, limit: Limit, seconds: float) -> None:
    wide = Limit(amount=10**6, period_us=1_000_000)
    charges = [Charge(f"{{{tag}}}:q:a", limit, 1), Charge(f"{{{tag}}}:q:b", wide, 1)]
    asked, granted = hammer(url, charges, 8, seconds)
    assert asked > len(granted) > limit.burst
    # The sum is in doubles; a whole unit too many would show as 1.
    assert excess(granted, limit) < 1e-3
    if limit.hard:
        assert most_in_a_period(granted, limit) <= limit.amount


@pytest.mark.parametrize("limit", LIMITS, ids=["soft", "hard"])
def test_eight_processes_stay_within_burst_and_rate(server: Any, tag: str, limit: Limit) -> None:
    check(server.url, tag, limit, 1.0)


@pytest.mark.full
@pytest.mark.parametrize("limit", LIMITS, ids=["soft", "hard"])
def test_eight_processes_stay_within_burst_and_rate_for_five_seconds(
    server: Any, tag: str, limit: Limit
) -> None:
    check(server.url, tag, limit, 5.0)
