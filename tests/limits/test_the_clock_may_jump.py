"""A server clock that jumps costs at most one extra burst, and denies nobody for the jump."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model import Charge, Limit

SECOND, DAY = 1_000_000, 86_400_000_000
T0 = 1_000_000_000_000


@pytest.fixture
def charge(tag: str) -> Callable[..., Charge]:
    limit = Limit(amount=10, period_us=10 * SECOND)
    return lambda amount=1: Charge(f"{{{tag}}}:q:key:k1:requests", limit, amount)


async def test_a_day_forward_and_back_denies_for_seconds_not_for_a_day(
    decide: Callable[..., Any], charge: Callable[..., Charge]
) -> None:
    await decide("reserve", [charge(10)], now_us=T0 + DAY)
    denied = await decide("reserve", [charge(10)], now_us=T0)
    assert denied.retry_after_us == 10 * SECOND
    # The denial moved the debt's time; had it not been stored, the debt would still stand here.
    assert (await decide("reserve", [charge(10)], now_us=T0 + 10 * SECOND)).admitted


async def test_nor_where_a_call_has_limits_of_other_kinds_too(
    decide: Callable[..., Any], charge: Callable[..., Charge], tag: str
) -> None:
    slots = Limit(amount=100, period_us=60 * SECOND, kind="slots")
    both = [charge(10), Charge(f"{{{tag}}}:q:key:k1:concurrency", slots, 1)]
    await decide("reserve", both, now_us=T0 + DAY)
    assert (await decide("reserve", both, now_us=T0)).retry_after_us == 10 * SECOND
    assert (await decide("reserve", both, now_us=T0 + 10 * SECOND)).admitted


async def test_a_jump_forward_gives_at_most_one_extra_burst(
    decide: Callable[..., Any], charge: Callable[..., Charge]
) -> None:
    admitted = 0
    for now_us in [T0] * 15 + [T0 + DAY] * 15 + [T0] * 15:
        admitted += (await decide("reserve", [charge()], now_us=now_us)).admitted
    assert admitted == 20


async def test_a_debt_above_the_burst_survives_a_jump(
    decide: Callable[..., Any], charge: Callable[..., Charge]
) -> None:
    decision = await decide("reserve", [charge(10)], now_us=T0 + DAY)
    await decide("settle", decision.reservation, (20,), now_us=T0 + DAY)
    denied = await decide("reserve", [charge()], now_us=T0)
    assert denied.retry_after_us == 21 * SECOND


async def test_a_peek_stores_no_jump(
    decide: Callable[..., Any], charge: Callable[..., Charge], client: Any
) -> None:
    await decide("reserve", [charge(10)], now_us=T0 + DAY)
    before = client.get(charge().key)
    await decide("peek", [charge()], now_us=T0)
    assert client.get(charge().key) == before


async def test_a_raised_limit_acts_on_the_next_call_and_a_lowered_one_too(
    decide: Callable[..., Any], tag: str
) -> None:
    key = f"{{{tag}}}:q:key:k1:requests"
    slow, fast = Limit(amount=7, period_us=SECOND), Limit(amount=700, period_us=SECOND)
    await decide("reserve", [Charge(key, slow, 7)], now_us=T0)
    assert not (await decide("reserve", [Charge(key, slow, 1)], now_us=T0)).admitted
    assert (await decide("reserve", [Charge(key, fast, 1)], now_us=T0)).remaining == (692,)
    denied = await decide("reserve", [Charge(key, slow, 1)], now_us=T0)
    assert denied.retry_after_us == 285_715
    # A denial already drains at the new rate.
    assert not (await decide("reserve", [Charge(key, slow, 1)], now_us=T0 + 285_714)).admitted
    assert (await decide("reserve", [Charge(key, slow, 1)], now_us=T0 + 285_715)).admitted


async def test_settling_a_reservation_older_than_the_limit_does_not_change_it_back(
    decide: Callable[..., Any], tag: str
) -> None:
    key = f"{{{tag}}}:q:key:k1:requests"
    slow, fast = Limit(amount=7, period_us=SECOND), Limit(amount=700, period_us=SECOND)
    old = await decide("reserve", [Charge(key, slow, 4)], now_us=T0)
    await decide("reserve", [Charge(key, fast, 100)], now_us=T0)
    await decide("settle", old.reservation, (-4,), now_us=T0)
    assert (await decide("peek", [Charge(key, fast, 0)], now_us=T0)).remaining == (600,)
