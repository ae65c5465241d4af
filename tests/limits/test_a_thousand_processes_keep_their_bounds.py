"""A thousand processes of a hundred tenants in virtual time: bounds hold, and nobody starves another."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
import redis

from mesh_store.model.limits import Charge, Limit
from mesh_store.model.reference import Reference
from mesh_store.redis import Limiter

MINUTE = 60_000_000
START = 1_900_000_000_000_000
TEAM = Limit(amount=120, period_us=MINUTE, burst=30)
KEY = Limit(amount=30, period_us=MINUTE, burst=5)
HARD = Limit(amount=100, period_us=MINUTE, hard=True)
SLOTS = Limit(amount=6, period_us=MINUTE, kind="slots")


def charges(tenant: int, process: int, prefix: str) -> list[Charge]:
    tag = f"{{{prefix}t{tenant}}}"
    return [
        Charge(f"{tag}:q:team", TEAM, 1),
        Charge(f"{tag}:q:hard", HARD, 1),
        Charge(f"{tag}:q:slots", SLOTS, 1),
        Charge(f"{tag}:q:key:{process % 5}", KEY, 1),
    ]


def arrivals(
    seed: int, tenants: int, processes: int, seconds: int, flooding: int
) -> list[tuple[int, int, int]]:
    """Return calls by time: processes ask now and then, those of the first tenants without a pause."""
    chance, calls = random.Random(seed), []
    for process in range(processes):
        tenant, at_us = process % tenants, START
        while True:
            at_us += 1 + int(chance.expovariate(1 / (200_000 if tenant < flooding else 5_000_000)))
            if at_us > START + seconds * 1_000_000:
                break
            calls.append((at_us, tenant, process))
    return sorted(calls)


def admitted(
    limiter: Reference | Limiter, calls: list[tuple[int, int, int]], prefix: str = ""
) -> list[tuple[int, int, int]]:
    """Let every call in that fits; each holds its slots for a second."""
    running: list[tuple[int, object]] = []
    let_in = []
    for number, (at_us, tenant, process) in enumerate(calls):
        while running and running[0][0] <= at_us:
            ended_us, held = running.pop(0)
            limiter.settle(held, now_us=ended_us)  # type: ignore[arg-type]
        decision = limiter.reserve(
            charges(tenant, process // 100, prefix), reservation_id=f"c{number}", ttl_us=10**12, now_us=at_us
        )
        if decision.admitted:
            let_in.append((at_us, tenant, process))
            running.append((at_us + 1_000_000, decision.reservation))
    return let_in


def most_in_a_window(times: list[int], window_us: int) -> int:
    first = most = 0
    for last, at_us in enumerate(times):
        while times[first] <= at_us - window_us:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("seed", [1])
def test_no_window_of_any_tenant_ever_holds_more_than_its_bound(seed: int) -> None:
    calls = arrivals(seed, tenants=100, processes=1_000, seconds=90, flooding=10)
    by_tenant, by_key = defaultdict(list), defaultdict(list)
    for at_us, tenant, process in admitted(Reference(), calls):
        by_tenant[tenant].append(at_us)
        by_key[tenant, process // 100 % 5].append(at_us)
    assert len(by_tenant) == 100
    for times in by_tenant.values():
        assert most_in_a_window(times, 1_000_000) <= min(6, 30 + 2)  # slots, held for a second each
        assert most_in_a_window(times, 10_000_000) <= 30 + 20
        assert most_in_a_window(times, MINUTE) <= 100  # the hard limit, in every window
    for times in by_key.values():
        assert most_in_a_window(times, 10_000_000) <= 5 + 5
        assert most_in_a_window(times, MINUTE) <= 5 + 30


def test_a_tenant_that_floods_takes_nothing_from_the_others() -> None:
    calls = arrivals(2, tenants=100, processes=1_000, seconds=60, flooding=10)
    beside = [each for each in admitted(Reference(), calls) if each[1] >= 10]
    alone = admitted(Reference(), [each for each in calls if each[1] >= 10])
    assert beside == alone


def test_keys_that_ask_alike_get_alike_under_contention() -> None:
    calls = arrivals(3, tenants=2, processes=1_000, seconds=60, flooding=2)[:60_000]
    let_in = admitted(Reference(), calls)
    shares = Counter((tenant, process // 100 % 5) for _, tenant, process in let_in)
    assert len(shares) == 10
    for tenant in (0, 1):
        own = [count for (whose, _), count in shares.items() if whose == tenant]
        assert min(own) > 0.5 * sum(own) / len(own)


def test_the_script_lets_in_the_very_same_calls(client: redis.Redis, tag: str) -> None:
    calls = arrivals(4, tenants=20, processes=200, seconds=12, flooding=4)[:2_500]
    assert admitted(Limiter(client), calls, tag) == admitted(Reference(), calls)
