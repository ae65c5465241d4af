"""A limit in shadow mode is decided and counted, says what it would have refused, and refuses nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_plugins.testing.limiter import MemoryLimiter
from mesh_store.model import Charge, Limit
from mesh_store.redis import Budgets

DAY = 86_400_000_000
T0 = 1_700_000_000_000_000
KINDS = {
    "rate": Limit(amount=10, period_us=600_000_000),
    "slots": Limit(amount=10, period_us=600_000_000, kind="slots"),
    "window": Limit(amount=10, period_us=DAY, kind="window"),
}


@pytest.fixture(params=list(KINDS))
def shadow(request: pytest.FixtureRequest, tag: str, client: Any) -> Callable[[int], Charge]:
    """A charge of a shadow limit of 10, of each kind."""
    Budgets(client).track(tag, 0)

    def charge(amount: int) -> Charge:
        return Charge(f"{{{tag}}}:q:shadow", KINDS[request.param], amount, enforce=False)

    return charge


@pytest.fixture
def strict(tag: str) -> Callable[[int], Charge]:
    """A charge of an enforced limit of 100."""
    limit = Limit(amount=100, period_us=600_000_000)
    return lambda amount: Charge(f"{{{tag}}}:q:strict", limit, amount)


async def left(decide: Callable[..., Any], *charges: Charge) -> tuple[int, ...]:
    remaining: tuple[int, ...] = (await decide("peek", charges, now_us=T0)).remaining
    return remaining


async def test_what_fits_is_taken(decide: Callable[..., Any], shadow: Any, strict: Any) -> None:
    decision = await decide("reserve", [strict(1), shadow(4)], now_us=T0)
    assert decision.admitted
    assert decision.shadow_denied == ()
    assert await left(decide, strict(0), shadow(0)) == (99, 6)


async def test_what_does_not_fit_is_left_out_and_said(
    decide: Callable[..., Any], shadow: Any, strict: Any
) -> None:
    await decide("reserve", [shadow(8)], now_us=T0)
    decision = await decide("reserve", [shadow(3), strict(5)], now_us=T0)
    assert decision.admitted
    assert decision.retry_after_us == 0
    assert decision.wait_us == 0
    assert decision.shadow_denied == (0,)
    assert decision.remaining == (2, 95)
    assert await left(decide, shadow(0), strict(0)) == (2, 95)


async def test_settling_what_was_left_out_changes_nothing(
    decide: Callable[..., Any], shadow: Any, strict: Any
) -> None:
    await decide("reserve", [shadow(8)], now_us=T0)
    for delta in (-3, 0, 4):
        decision = await decide("reserve", [shadow(3), strict(5)], now_us=T0)
        assert await decide("settle", decision.reservation, (delta, -5), now_us=T0)
        assert await left(decide, shadow(0), strict(0)) == (2, 100)


async def test_cancelling_what_was_left_out_gives_nothing_back(
    decide: Callable[..., Any], shadow: Any, strict: Any
) -> None:
    await decide("reserve", [shadow(8)], now_us=T0)
    decision = await decide("reserve", [shadow(3), strict(5)], now_us=T0)
    assert await decide("cancel", decision.reservation.id, [shadow(3), strict(5)], now_us=T0)
    assert await left(decide, shadow(0), strict(0)) == (2, 100)


async def test_what_was_taken_is_settled_like_any_charge(
    decide: Callable[..., Any], shadow: Any, strict: Any
) -> None:
    decision = await decide("reserve", [shadow(3), strict(5)], now_us=T0)
    assert await decide("settle", decision.reservation, (-3, -5), now_us=T0)
    assert await left(decide, shadow(0), strict(0)) == (10, 100)


async def test_a_replay_says_the_same(decide: Callable[..., Any], shadow: Any, strict: Any) -> None:
    await decide("reserve", [shadow(8)], now_us=T0)
    asked = [strict(1), shadow(3)]
    first = await decide("reserve", asked, reservation_id="same", now_us=T0)
    again = await decide("reserve", asked, reservation_id="same", now_us=T0)
    assert first.shadow_denied == again.shadow_denied == (1,)
    assert await left(decide, strict(0), shadow(0)) == (99, 2)


async def test_an_enforced_limit_still_refuses_and_then_nothing_is_taken(
    decide: Callable[..., Any], shadow: Any, strict: Any
) -> None:
    await decide("reserve", [shadow(10)], now_us=T0)
    denied = await decide("reserve", [shadow(5), strict(101)], now_us=T0)
    assert not denied.admitted
    assert denied.binding == 1
    assert denied.shadow_denied == ()
    assert await left(decide, shadow(0), strict(0)) == (0, 100)


async def test_it_is_never_the_one_that_binds(decide: Callable[..., Any], shadow: Any, strict: Any) -> None:
    await decide("reserve", [strict(100)], now_us=T0)
    denied = await decide("reserve", [shadow(11), strict(1)], now_us=T0)
    assert (denied.admitted, denied.binding, denied.retry_after_us) == (False, 1, 6_000_000)


async def test_it_never_makes_a_caller_wait(decide: Callable[..., Any], tag: str) -> None:
    charge = Charge(f"{{{tag}}}:q:shadow", KINDS["rate"], 1, enforce=False)
    for _ in range(10):
        await decide("reserve", [charge], now_us=T0)
    decision = await decide("reserve", [charge], max_wait_us=120_000_000, now_us=T0)
    # It would have been booked, so it is counted; nobody sleeps for it.
    assert (decision.admitted, decision.wait_us, decision.shadow_denied) == (True, 0, ())
    decision = await decide("reserve", [charge], max_wait_us=100_000_000, now_us=T0)
    assert (decision.admitted, decision.shadow_denied) == (True, (0,))


async def test_places_are_told_across_tags(decide: Callable[..., Any], tag: str) -> None:
    limit = KINDS["rate"]
    charges = [
        Charge(f"{{{tag}}}:q:a", limit, 1),
        Charge(f"{{{tag}-b}}:q:b", limit, 11, enforce=False),
        Charge(f"{{{tag}}}:q:c", limit, 11, enforce=False),
    ]
    decision = await decide("reserve", charges, now_us=T0)
    assert decision.shadow_denied == (1, 2)
    assert decision.remaining == (9, 10, 10)


async def test_a_peek_says_what_would_be_left_out(decide: Callable[..., Any], shadow: Any) -> None:
    seen = await decide("peek", [shadow(11)], now_us=T0)
    assert (seen.admitted, seen.shadow_denied) == (True, (0,))


async def test_a_key_enforced_by_one_and_watched_by_another_is_never_joined(alimiter: Any, tag: str) -> None:
    """Two snapshots of one process may disagree for a moment."""
    import asyncio

    limit = KINDS["rate"]
    asked = [[Charge(f"{{{tag}}}:q:a", limit, 11, enforce=enforce)] for enforce in (False, True, False)]
    decisions = await asyncio.gather(*(alimiter.reserve(charges, now_us=T0) for charges in asked))
    assert [decision.admitted for decision in decisions] == [True, False, True]


async def test_a_renewal_misses_no_slot_that_was_never_taken(decide: Callable[..., Any], tag: str) -> None:
    charge = Charge(f"{{{tag}}}:q:slots", KINDS["slots"], 6, enforce=False)
    await decide("reserve", [charge], now_us=T0)
    decision = await decide("reserve", [charge], now_us=T0)
    assert decision.shadow_denied == (0,)
    assert await decide("renew", [decision.reservation], now_us=T0) == [True]


def test_the_limiter_in_memory_says_the_same() -> None:
    limiter = MemoryLimiter(lambda: T0)
    shadow = Charge("a", KINDS["rate"], 8, enforce=False)
    strict = Charge("b", KINDS["rate"], 1)
    limiter.reserve([shadow])
    decision = limiter.reserve([strict, shadow])
    assert (decision.admitted, decision.shadow_denied, decision.remaining) == (True, (1,), (9, 2))
    assert decision.reservation
    assert limiter.settle(decision.reservation, (-1, -8))
    assert limiter.peek([strict, shadow]).remaining == (10, 2)
