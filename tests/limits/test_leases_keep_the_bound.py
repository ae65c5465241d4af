"""Leased and direct calls together never exceed a limit in any stretch of time, whatever happens."""

import pytest
import redis

from mesh_store.model import Charge, Limit
from tests.limits.leasing_world import Process, World, excess, most_in_a_period

SOFT = Limit(amount=200, period_us=1_000_000, burst=100)
HARD = Limit(amount=200, period_us=1_000_000, burst=80, hard=True)
TOKENS = Limit(amount=20_000, period_us=1_000_000, burst=12_000)


def live(world: World, processes: list[Process], steps: int, *, trouble: bool, actual: bool = False) -> None:
    """Let processes call, end calls, ship, stall and die by chance."""
    chance = world.random
    for step in range(steps):
        world.passes(chance.choice((100, 500, 2_000, 9_000)))
        if step % 40 == 0:
            # A pause, so that there is something to lease again.
            world.passes(chance.randint(100_000, 700_000))
        process = chance.choice(processes)
        for _ in range(chance.choice((1, 1, 2, 10))):
            process.spend([1, chance.randint(1, 400), 1][: len(process.charges)])
        while process.running and chance.random() < 0.5:
            ended = chance.choice(process.running)
            took = [chance.randint(0, charge.amount) for charge in ended.charges] if actual else None
            process.finish(ended, took)
        if chance.random() < 0.7:
            process.keeper.turn()
        if chance.random() < 0.5:
            process.ship(chance.randint(1, 20), twice=trouble and chance.random() < 0.3)
        if trouble:
            stumble(world, processes, process)


def stumble(world: World, processes: list[Process], process: Process) -> None:
    chance = world.random
    if chance.random() < 0.01:
        world.passes(chance.randint(1, 300_000))
    if chance.random() < 0.01:
        process.book.end_all()
    if chance.random() < 0.01:
        # kill -9: the ring stays; somebody drains it sooner or later, or never.
        processes.remove(process)
        if chance.random() < 0.5:
            process.drain()
        skew = chance.randint(0, 10**9)
        processes.append(Process(world, process.charges, leases=process.leases, skew_us=skew))


def three_limits(tag: str) -> list[Charge]:
    return [
        Charge(f"{{{tag}}}:q:a", SOFT, 1),
        Charge(f"{{{tag}}}:q:t", TOKENS, 1),
        Charge(f"{{{tag}2}}:q:h", HARD, 1),
    ]


def crowd(world: World, charges: list[Charge]) -> list[Process]:
    return [
        Process(world, charges, leases=number % 4 > 0, skew_us=number * 7_000_000_000) for number in range(4)
    ]


def check(client: redis.Redis, tag: str, seed: int, steps: int, *, trouble: bool) -> None:
    world = World(client, seed)
    world.greedy = seed % 2 == 0
    charges = three_limits(f"{tag}{seed}")
    live(world, crowd(world, charges), steps, trouble=trouble)
    assert min(world.leased, world.direct, world.refused) > steps / 20
    for charge in charges:
        assert excess(world.spent[charge.key], charge.limit) <= 0
    assert most_in_a_period(world.spent[charges[2].key], HARD) <= HARD.amount


@pytest.mark.parametrize("seed", range(4))
def test_any_stretch_of_time_keeps_the_bound(client: redis.Redis, tag: str, seed: int) -> None:
    check(client, tag, seed, 400, trouble=False)


@pytest.mark.parametrize("seed", range(4))
def test_with_kills_stalls_and_replays_too(client: redis.Redis, tag: str, seed: int) -> None:
    check(client, tag, seed, 400, trouble=True)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 140))
def test_for_many_seeds(client: redis.Redis, tag: str, seed: int) -> None:
    check(client, tag, seed, 3_000, trouble=seed % 2 == 0)
