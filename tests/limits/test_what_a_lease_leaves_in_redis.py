"""Slices in figures: what the scripts store when one is taken, refused and given back, to the microsecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from mesh_store.model import Charge, Limit
from mesh_store.model.facts import LeaseEnded
from mesh_store.redis.leasing import LeasingLimiter

T0, TTL = 1_900_000_000_000_000, 50_000
#: A unit a millisecond.
PLAIN = Limit(amount=1_000, period_us=1_000_000)
#: A unit every 142,857 1/7 us.
SEVENTHS = Limit(amount=7, period_us=1_000_000)


class Desk:
    """One limit, its slices, and what Redis holds of it."""

    def __init__(self, client: redis.Redis, key: str, limit: Limit) -> None:
        self.client, self.key, self.limit = client, key, limit
        self.limiter = LeasingLimiter(client)

    def take(self, units: int, at: int, limit: Limit | None = None) -> Any:
        return self.limiter.reserve([Charge(self.key, limit or self.limit, units)], now_us=T0 + at)

    def lease(self, units: int, at: int, *, share: int = 1, limit: Limit | None = None) -> Any:
        charges = [Charge(self.key, limit or self.limit, 0)]
        return self.limiter.lease(charges, [(units,)], share, f"lease-{at}", TTL, now_us=T0 + at)

    def end(self, grant: Any, left: int, at: int, refunded: int = 0) -> None:
        self.limiter.end_lease(LeaseEnded(grant.reservation, (left,), (refunded,)), now_us=T0 + at)

    def debt(self, at: int) -> tuple[int, int]:
        """What is owed then, in whole microseconds and in parts of one."""
        found: Any = self.client.get(self.key)
        if found is None:
            return 0, 0
        since, micros, rem = msgspec.msgpack.decode(b"\x94" + found)[:3]
        return int(micros - (T0 + at - since)), int(rem)


@pytest.fixture
def desk(client: redis.Redis, tag: str) -> Callable[[Limit], Desk]:
    return lambda limit: Desk(client, f"{{{tag}}}:q:a", limit)


def test_a_slice_stands_on_a_debt_of_exactly_its_ttl(desk: Callable[[Limit], Desk]) -> None:
    world = desk(SEVENTHS)
    world.take(1, 0)
    at = 142_857 - 10
    assert world.debt(at) == (10, 1)
    assert world.lease(1, at) is not None
    assert world.debt(at) == (TTL + 142_857, 1)


def test_and_on_what_is_owed_where_that_is_more(desk: Callable[[Limit], Desk]) -> None:
    world = desk(SEVENTHS)
    world.take(2, 0)
    assert world.lease(1, 0) is not None
    assert world.debt(0) == (3 * 142_857, 3)


def test_a_refused_slice_leaves_the_debt_as_it_was(desk: Callable[[Limit], Desk]) -> None:
    world = desk(PLAIN)
    world.take(20, 0)
    assert world.lease(10, 0, share=200) is None
    assert world.debt(0) == (20_000, 0)


def test_also_where_a_changed_rate_is_written_down_with_it(desk: Callable[[Limit], Desk]) -> None:
    world = desk(PLAIN)
    world.take(20, 0)
    double = Limit(amount=2_000, period_us=1_000_000)
    assert world.lease(10, 0, share=300, limit=double) is None
    assert world.debt(0) == (10_000, 0)
    assert world.take(1_980, 0, double).admitted


@pytest.mark.parametrize(
    ("owed", "elapsed", "back"),
    [
        (200, 20_000, 10_000),  # what it stood on was needed by others all the while
        (200, 149_998, 10_000),
        (200, 149_999, 10_000),
        (200, 150_000, 9_999),  # fractions count as a whole microsecond
        (200, 155_000, 4_999),
        (200, 159_999, 0),
        (0, 20_000, 0),  # it stood on nothing but its ttl
        (0, 5_000, 5_000),
    ],
)
def test_unspent_units_come_back_as_far_as_nobody_else_was_admitted_on_their_draining(
    desk: Callable[[Limit], Desk], owed: int, elapsed: int, back: int
) -> None:
    world = desk(PLAIN)
    if owed:
        world.take(owed, 0)
    granted = max(owed * 1_000, TTL) + 10_000
    grant = world.lease(10, 0)
    assert world.debt(0) == (granted, 0)
    world.end(grant, 10, elapsed)
    assert world.debt(elapsed) == (granted - elapsed - back, 0)


def test_nothing_unspent_comes_back_at_another_rate_than_it_was_leased_at(
    desk: Callable[[Limit], Desk],
) -> None:
    world = desk(PLAIN)
    world.take(200, 0)
    grant = world.lease(10, 0)
    double = Limit(amount=2_000, period_us=1_000_000)
    world.take(1, 0, double)
    assert world.debt(0) == (105_500, 0)
    world.end(grant, 10, 0)
    assert world.debt(0) == (105_500, 0)
