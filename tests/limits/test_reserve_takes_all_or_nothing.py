"""Several limits are one decision: all are charged, or none is."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, ConfigError, Limit, QuotaUnavailable
from mesh_store.redis import AsyncLimiter, Limiter

MINUTE_US = 60_000_000
T0 = 1_000_000_000


@pytest.fixture
def team(tag: str) -> Callable[..., Charge]:
    def charge(name: str, limit: Limit, amount: int = 1) -> Charge:
        return Charge(f"{{{tag}}}:q:{name}:requests", limit, amount)

    return charge


async def test_a_denial_charges_no_limit(decide: Callable[..., Any], team: Callable[..., Charge]) -> None:
    wide, narrow = Limit(amount=100, period_us=MINUTE_US), Limit(amount=2, period_us=MINUTE_US)
    charges = [team("team", wide), team("key", narrow)]
    for _ in range(2):
        assert (await decide("reserve", charges, now_us=T0)).admitted
    denied = await decide("reserve", charges, now_us=T0)
    assert not denied.admitted
    assert denied.binding == 1
    assert denied.retry_after_us == MINUTE_US // 2
    assert denied.remaining == (98, 0)
    assert denied.reservation is None
    assert (await decide("peek", charges, now_us=T0)).remaining == (98, 0)


async def test_a_key_that_is_refused_does_not_starve_its_sibling(
    alimiter: AsyncLimiter, team: Callable[..., Charge]
) -> None:
    whole_team = team("team", Limit(amount=100, period_us=MINUTE_US))
    first = team("key-a", Limit(amount=10, period_us=MINUTE_US))
    second = team("key-b", Limit(amount=50, period_us=MINUTE_US))
    flood = await asyncio.gather(*[alimiter.reserve([whole_team, first], now_us=T0) for _ in range(200)])
    assert sum(decision.admitted for decision in flood) == 10
    sibling = await asyncio.gather(*[alimiter.reserve([whole_team, second], now_us=T0) for _ in range(50)])
    assert sum(decision.admitted for decision in sibling) == 50


def test_threads_share_one_limiter(limiter: Limiter, team: Callable[..., Charge]) -> None:
    charge = team("key", Limit(amount=30, period_us=MINUTE_US))
    with ThreadPoolExecutor(8) as pool:
        decisions = list(pool.map(lambda _: limiter.reserve([charge], now_us=T0), range(64)))
    assert sum(decision.admitted for decision in decisions) == 30
    ids = {decision.reservation.id for decision in decisions if decision.reservation}
    assert len(ids) == 30


async def test_a_charge_larger_than_the_burst_can_never_fit(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    small = team("key", Limit(amount=600, period_us=MINUTE_US, burst=10), 11)
    denied = await decide("reserve", [small], now_us=T0)
    assert denied.retry_after_us is None
    assert denied.remaining == (10,)


async def test_peeking_changes_nothing(decide: Callable[..., Any], team: Callable[..., Charge]) -> None:
    charge = team("key", Limit(amount=2, period_us=MINUTE_US))
    for _ in range(5):
        peeked = await decide("peek", [charge], now_us=T0)
        assert peeked.admitted
        assert peeked.remaining == (2,)
        assert peeked.reservation is None


async def test_the_same_id_replays_the_recorded_answer(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    charge = team("key", Limit(amount=5, period_us=MINUTE_US), 2)
    first = await decide("reserve", [charge], reservation_id="one", now_us=T0)
    again = await decide("reserve", [charge], reservation_id="one", now_us=T0 + 1_000)
    assert again.remaining == first.remaining == (3,)
    assert (await decide("peek", [charge], now_us=T0)).remaining == (3,)


@pytest.mark.parametrize("change", ["amount", "key", "rate"])
async def test_an_id_used_for_other_charges_is_refused(
    decide: Callable[..., Any], team: Callable[..., Charge], change: str
) -> None:
    limit = Limit(amount=5, period_us=MINUTE_US)
    other = {
        "amount": team("key", limit, 2),
        "key": team("other", limit),
        "rate": team("key", Limit(amount=7, period_us=MINUTE_US)),
    }[change]
    await decide("reserve", [team("key", limit)], reservation_id="one", now_us=T0)
    with pytest.raises(ConfigError, match="used before for other charges"):
        await decide("reserve", [other], reservation_id="one", now_us=T0)


async def test_a_cancel_that_overtakes_its_reserve_refuses_it(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    charge = team("key", Limit(amount=5, period_us=MINUTE_US))
    assert await decide("cancel", "late", [charge], now_us=T0) is False
    with pytest.raises(QuotaUnavailable, match="cancelled"):
        await decide("reserve", [charge], reservation_id="late", now_us=T0)
    assert (await decide("peek", [charge], now_us=T0)).remaining == (5,)


async def test_a_cancel_is_remembered_for_a_minute(
    decide: Callable[..., Any], team: Callable[..., Charge], client: redis.Redis
) -> None:
    charge = team("key", Limit(amount=5, period_us=MINUTE_US))
    held = await decide("reserve", [charge], reservation_id="held", now_us=T0)
    for identity in ("unknown", held.reservation.id):
        await decide("cancel", identity, [charge], now_us=T0)
        [record] = client.keys(f"{charge.key.partition('}')[0]}}}:r:{identity}")
        assert 30_000 < client.pttl(record) <= 60_000


async def test_a_hundred_waiters_take_one_call_each_and_none_overtakes(
    alimiter: AsyncLimiter, team: Callable[..., Charge], client: redis.Redis
) -> None:
    charge = team("key", Limit(amount=40, period_us=1_000_000, burst=10))
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    asking = [alimiter.reserve([charge], max_wait_us=60_000_000, now_us=T0) for _ in range(100)]
    waits = [decision.wait_us for decision in await asyncio.gather(*asking)]
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 100
    assert waits == [0] * 10 + [25_000 * place for place in range(1, 91)]


async def test_a_booked_wait_is_served_first_come_first_served(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    charge = team("key", Limit(amount=10, period_us=1_000_000, burst=1))
    waits = []
    for _ in range(5):
        decision = await decide("reserve", [charge], max_wait_us=300_000, now_us=T0)
        waits.append(decision.wait_us if decision.admitted else None)
    assert waits == [0, 100_000, 200_000, 300_000, None]
    # The refused one learns when a caller who will not wait would be admitted.
    assert decision.retry_after_us == 400_000


async def test_a_cancelled_booking_is_given_to_the_next(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    charge = team("key", Limit(amount=10, period_us=1_000_000, burst=1))
    await decide("reserve", [charge], now_us=T0)
    booked = await decide("reserve", [charge], max_wait_us=500_000, now_us=T0)
    assert await decide("cancel", booked.reservation.id, booked.reservation.charges, now_us=T0)
    again = await decide("reserve", [charge], max_wait_us=500_000, now_us=T0)
    assert again.wait_us == booked.wait_us == 100_000


async def test_the_same_key_twice_is_refused(decide: Callable[..., Any], team: Callable[..., Charge]) -> None:
    charge = team("key", Limit(amount=10, period_us=MINUTE_US))
    with pytest.raises(ValueError, match="appears twice"):
        await decide("reserve", [charge, charge])


@pytest.mark.parametrize("amount", [True, -1, 1.0, "1", 2**53, None])
async def test_only_whole_amounts_are_taken(
    decide: Callable[..., Any], team: Callable[..., Charge], amount: Any
) -> None:
    with pytest.raises(ValueError, match=r"charge\.amount must be a whole number"):
        await decide("reserve", [team("key", Limit(amount=10, period_us=MINUTE_US), amount)])


async def test_server_time_decides_when_no_time_is_given(
    decide: Callable[..., Any], team: Callable[..., Charge]
) -> None:
    decision = await decide("reserve", [team("key", Limit(amount=10, period_us=MINUTE_US))])
    assert decision.reservation.reserved_at_us > 1_700_000_000_000_000
    assert decision.reservation.expires_at_us == decision.reservation.reserved_at_us + 900_000_000
