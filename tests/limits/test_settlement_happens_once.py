"""A settlement trues a reservation up exactly once, and never lifts a limit above full."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model import Charge, Limit

MINUTE_US = 60_000_000
T0 = 1_000_000_000


@pytest.fixture
def tokens(tag: str) -> Callable[..., Charge]:
    def charge(amount: int, **limit: Any) -> Charge:
        rule = {"amount": 100, "period_us": 100_000_000} | limit
        return Charge(f"{{{tag}}}:q:key:k1:tokens", Limit(**rule), amount)

    return charge


async def left(decide: Callable[..., Any], charge: Charge, now_us: int = T0) -> int:
    return (await decide("peek", [charge], now_us=now_us)).remaining[0]


async def test_less_than_the_estimate_is_given_back(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    assert await decide("settle", decision.reservation, (-15,), now_us=T0)
    assert await left(decide, charge) == 75


async def test_settling_twice_changes_nothing(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    assert await decide("settle", decision.reservation, (-15,), now_us=T0) is True
    assert await decide("settle", decision.reservation, (-15,), now_us=T0) is False
    assert await decide("cancel", decision.reservation.id, [charge], now_us=T0) is False
    assert await left(decide, charge) == 75


async def test_more_than_the_estimate_goes_into_debt(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    await decide("settle", decision.reservation, (100,), now_us=T0)
    denied = await decide("reserve", [tokens(1)], now_us=T0)
    assert denied.remaining == (0,)
    # 140 of 100 are taken at one a second: 41 s until one fits.
    assert denied.retry_after_us == 41_000_000
    assert denied.reset_after_us == (140_000_000,)


async def test_no_debt_outgrows_what_can_be_counted(decide: Callable[..., Any], tag: str) -> None:
    a_unit_a_day = Limit(amount=1, burst=2, period_us=86_400_000_000)
    charge = Charge(f"{{{tag}}}:q:key:k1:requests", a_unit_a_day, 1)
    held = [(await decide("reserve", [charge], now_us=T0)).reservation for _ in range(2)]
    for reservation in held:
        await decide("settle", reservation, (2**40,), now_us=T0)
        assert (await decide("peek", [charge], now_us=T0)).reset_after_us == (2**52,)


async def test_a_refund_never_lifts_above_full(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    await decide("settle", decision.reservation, (-40,), now_us=T0 + 30_000_000)
    assert await left(decide, charge, T0 + 30_000_000) == 100
    assert (await decide("reserve", [tokens(101)], now_us=T0 + 30_000_000)).retry_after_us is None


async def test_nor_when_the_clock_goes_back_after_it(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    decision = await decide("reserve", [tokens(40)], now_us=T0)
    await decide("settle", decision.reservation, (-40,), now_us=T0 + 30_000_000)
    earlier = T0 + 29_000_000
    assert (await decide("reserve", [tokens(100)], now_us=earlier)).admitted
    assert not (await decide("reserve", [tokens(1)], now_us=earlier)).admitted


async def test_what_is_owed_at_a_changed_rate_is_rounded_up(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    """1 - 7/60,000,000 of a unit is owed, which at 10,000/3 us a unit is 9,999.998 thirds of one."""
    key = tokens(1).key
    await decide("reserve", [Charge(key, Limit(amount=7, period_us=MINUTE_US), 1)], now_us=T0)
    faster = Charge(key, Limit(amount=3, period_us=10_000), 1)
    assert (await decide("peek", [faster], now_us=T0 + 1)).reset_after_us == (3_334,)


async def test_a_hard_limit_refunds_only_what_has_not_drained(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    # 100 per 100 s with a burst of 50 sustains half a unit a second.
    charge = tokens(20, burst=50, hard=True)
    await decide("reserve", [tokens(30, burst=50, hard=True)], now_us=T0)
    decision = await decide("reserve", [charge], now_us=T0)
    later = T0 + 20_000_000
    assert await left(decide, charge, later) == 10
    await decide("settle", decision.reservation, (-20,), now_us=later)
    # 10 of the 20 had drained and were there for others already; 10 come back.
    assert await left(decide, charge, later) == 20


async def test_a_reservation_nobody_knows_settles_to_nothing(
    decide: Callable[..., Any], tokens: Callable[..., Charge], client: Any, tag: str
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    client.delete(f"{{{tag}}}:r:{decision.reservation.id}")
    assert await decide("settle", decision.reservation, (50,), now_us=T0) is False
    assert await left(decide, charge) == 60


async def test_cancelling_gives_everything_back(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    charge = tokens(40)
    decision = await decide("reserve", [charge], now_us=T0)
    assert await decide("cancel", decision.reservation.id, [charge], now_us=T0)
    assert await left(decide, charge) == 100


async def test_many_settlements_share_one_call(
    decide: Callable[..., Any], tokens: Callable[..., Charge], client: Any
) -> None:
    charge = tokens(1)
    decisions = [await decide("reserve", [charge], now_us=T0) for _ in range(60)]
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    applied = await decide("settle_all", [(d.reservation, (-1,)) for d in decisions], now_us=T0)
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 1
    assert applied == [True] * 60
    assert await left(decide, charge) == 100


@pytest.mark.parametrize("deltas", [(-41,), (1, 1), (1.5,), (True,)])
async def test_deltas_must_fit_the_reservation(
    decide: Callable[..., Any], tokens: Callable[..., Charge], deltas: Any
) -> None:
    decision = await decide("reserve", [tokens(40)], now_us=T0)
    with pytest.raises(ValueError, match="delta"):
        await decide("settle", decision.reservation, deltas, now_us=T0)


async def test_what_at_most_granted_can_be_settled(
    decide: Callable[..., Any], tokens: Callable[..., Charge]
) -> None:
    await decide("reserve", [tokens(70)], now_us=T0)
    decision = await decide("at_most", tokens(50), now_us=T0)
    assert decision.granted == 30
    assert decision.reservation.charges[0].amount == 30
    assert await decide("settle", decision.reservation, (-30,), now_us=T0)
    assert await left(decide, tokens(0)) == 30
