"""Refunds to the part of a microsecond: fractions are borrowed, and what drained or was never taken stays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import redis

from mesh_store.model import Charge, Limit
from mesh_store.redis import Limiter

T0 = 1_900_000_000_000_000


class World:
    """One key under whatever limit a test says."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self.client, self.key, self.limiter = client, key, Limiter(client)

    def take(self, limit: Limit, units: int, at: int = 0) -> Any:
        decision = self.limiter.reserve([Charge(self.key, limit, units)], now_us=T0 + at)
        assert decision.reservation is not None
        return decision.reservation

    def back(self, reservation: Any, units: int, at: int) -> None:
        assert self.limiter.settle(reservation, (-units,), now_us=T0 + at)

    def debt(self) -> tuple[int, int]:
        """What was owed when it was written, in whole microseconds and in parts of one."""
        found: Any = self.client.get(self.key)
        _, micros, rem = msgspec.msgpack.decode(b"\x94" + found)[:3]
        return micros, rem


@pytest.fixture
def world(client: redis.Redis, tag: str) -> World:
    return World(client, f"{{{tag}}}:q:a")


def test_a_part_is_borrowed_from_a_microsecond(world: World) -> None:
    sevenths = Limit(amount=7, period_us=1_000_000)
    world.take(sevenths, 6)
    last = world.take(sevenths, 1)
    assert world.debt() == (1_000_000, 0)
    world.back(last, 1, 0)
    assert world.debt() == (857_142, 6)


#: A unit every two seconds.
HARD = Limit(amount=100, period_us=100_000_000, burst=50, hard=True)


def test_of_a_hard_limit_nothing_comes_back_once_as_much_has_drained(world: World) -> None:
    world.take(HARD, 30)
    held = world.take(HARD, 20)
    world.back(held, 1, 20_000_000)
    left = world.limiter.peek([Charge(world.key, HARD, 1)], now_us=T0 + 20_000_000)
    assert left.remaining == (10,)
    assert left.reset_after_us == (80_000_000,)


def test_nor_more_than_was_taken_when_the_clock_went_back(world: World) -> None:
    world.take(HARD, 30)
    held = world.take(HARD, 20)
    world.back(held, 10, -10_000_000)
    left = world.limiter.peek([Charge(world.key, HARD, 1)], now_us=T0 - 10_000_000)
    assert left.remaining == (10,)


def test_what_comes_back_at_a_changed_rate_is_rounded_down(world: World) -> None:
    """5,999,999 us of a unit every 3 s are 19,999,996 2/3 sevenths of a microsecond at 7 units in 10 s."""
    slower = Limit(amount=13, period_us=30_000_000, burst=3, hard=True)
    faster = Limit(amount=10, period_us=10_000_000, burst=3, hard=True)
    held = world.take(slower, 2)
    world.take(faster, 1)
    assert world.debt() == (4_285_714, 2)
    world.back(held, 2, 1)
    assert world.debt() == (1_428_571, 0)
