"""Concurrency: at most so many at once, and a killed holder's slot is free when its lease ends."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model import Charge, Limit

LEASE = 60_000_000
T0 = 1_000_000_000_000


@pytest.fixture
def slot(tag: str) -> Callable[..., Charge]:
    def charge(count: int = 1, amount: int = 2) -> Charge:
        return Charge(
            f"{{{tag}}}:q:team:t1:slots", Limit(amount=amount, period_us=LEASE, kind="slots"), count
        )

    return charge


async def test_only_so_many_run_at_once(decide: Callable[..., Any], slot: Callable[..., Charge]) -> None:
    first = await decide("reserve", [slot()], now_us=T0)
    second = await decide("reserve", [slot()], now_us=T0 + 10)
    assert (first.remaining, second.remaining) == ((1,), (0,))
    refused = await decide("reserve", [slot()], now_us=T0 + 20)
    assert not refused.admitted
    # The first lease ends first, unless its call does earlier.
    assert refused.retry_after_us == LEASE - 20
    assert refused.reset_after_us == (LEASE - 10,)


async def test_a_settled_call_frees_its_slot_at_once(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    held = [await decide("reserve", [slot()], now_us=T0) for _ in range(2)]
    assert await decide("settle", held[0].reservation, (0,), now_us=T0 + 1)
    assert (await decide("reserve", [slot()], now_us=T0 + 1)).admitted
    assert not await decide("settle", held[0].reservation, (0,), now_us=T0 + 2)
    assert not (await decide("reserve", [slot()], now_us=T0 + 2)).admitted


async def test_a_killed_holders_slot_is_free_when_its_lease_ends(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    for _ in range(2):
        await decide("reserve", [slot()], now_us=T0)
    assert not (await decide("reserve", [slot()], now_us=T0 + LEASE - 1)).admitted
    assert (await decide("reserve", [slot()], now_us=T0 + LEASE)).admitted


async def test_a_renewed_lease_keeps_its_slot(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    held = await decide("reserve", [slot(2)], now_us=T0)
    for third in range(1, 7):
        assert await decide("renew", [held.reservation], now_us=T0 + third * LEASE // 3) == [True]
    assert not (await decide("reserve", [slot()], now_us=T0 + 2 * LEASE)).admitted


async def test_a_lease_that_ended_cannot_be_renewed(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    held = await decide("reserve", [slot(2)], now_us=T0)
    assert await decide("renew", [held.reservation], now_us=T0 + LEASE) == [False]
    assert (await decide("reserve", [slot(2)], now_us=T0 + LEASE)).admitted


async def test_a_denial_holds_no_slot(
    decide: Callable[..., Any], slot: Callable[..., Charge], tag: str
) -> None:
    none_left = Charge(f"{{{tag}}}:q:key:k1:requests", Limit(amount=1, period_us=LEASE), 2)
    for _ in range(5):
        assert not (await decide("reserve", [slot(), none_left], now_us=T0)).admitted
    assert (await decide("reserve", [slot(2)], now_us=T0)).admitted


async def test_a_booked_wait_does_not_wait_for_slots(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    await decide("reserve", [slot(2)], now_us=T0)
    assert not (await decide("reserve", [slot()], max_wait_us=10 * LEASE, now_us=T0)).admitted


async def test_more_slots_than_there_are_never_fit(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    assert (await decide("reserve", [slot(3)], now_us=T0)).retry_after_us is None


async def test_a_clock_that_went_back_does_not_hold_slots_for_the_jump(
    decide: Callable[..., Any], slot: Callable[..., Charge]
) -> None:
    day = 86_400_000_000
    await decide("reserve", [slot(2)], now_us=T0 + day)
    refused = await decide("reserve", [slot()], now_us=T0)
    assert refused.retry_after_us == LEASE
    assert (await decide("reserve", [slot()], now_us=T0 + LEASE)).admitted


async def test_cancelling_an_unheard_grant_frees_its_slot(
    decide: Callable[..., Any], slot: Callable[..., Charge], client: Any, tag: str
) -> None:
    held = await decide("reserve", [slot(2)], now_us=T0)
    client.delete(f"{{{tag}}}:r:{held.reservation.id}")
    await decide("cancel", held.reservation.id, [slot(2)], now_us=T0)
    assert (await decide("reserve", [slot(2)], now_us=T0)).admitted
