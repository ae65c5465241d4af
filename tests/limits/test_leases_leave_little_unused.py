"""Under a steady demand above the limit, what leases hold unspent costs two calls in a hundred at most."""

import pytest
import redis

from mesh_store.model import Charge, Limit
from tests.limits.leasing_world import Process, World

LIMIT = Limit(amount=1_000, period_us=1_000_000, burst=600)
PROCESSES = 8


def admitted_of_bound(client: redis.Redis, tag: str, demand: float, seconds: int) -> float:
    """Return which share of burst + rate * time eight processes get that ask for a multiple of the rate."""
    world = World(client, 3)
    charges = [Charge(f"{{{tag}}}:q:a", LIMIT, 1)]
    processes = [Process(world, charges, skew_us=number * 10**9) for number in range(PROCESSES)]
    for process in processes:
        process.keeper._clients = lambda: PROCESSES
    rate, wanted, admitted = LIMIT.amount / LIMIT.period_us, 0.0, 0
    for millisecond in range(seconds * 1_000):
        world.passes(1_000)
        wanted += rate * 1_000 * demand
        while wanted >= 1:
            wanted -= 1
            process = world.random.choice(processes)
            call = process.call()
            if call is not None:
                admitted += 1
                process.finish(call)
        for number, process in enumerate(processes):
            if (millisecond + number) % 10 == 0:
                process.keeper.turn()
            if (millisecond + number) % 5 == 0:
                process.ship()
    assert min(world.leased, world.refused) > 100
    return admitted / (LIMIT.burst + rate * seconds * 1e6)


def test_twice_the_rate_for_four_seconds(client: redis.Redis, tag: str) -> None:
    assert admitted_of_bound(client, tag, 2.0, 4) > 0.98


@pytest.mark.full
@pytest.mark.parametrize("demand", [1.3, 2.0])
def test_for_ten_seconds(client: redis.Redis, tag: str, demand: float) -> None:
    assert admitted_of_bound(client, tag, demand, 10) > 0.98
