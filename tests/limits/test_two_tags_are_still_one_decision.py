"""Limits that span teams live under their own tags: decided second, given back on denial."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, ConfigError, Limit, MeshError, QuotaUnavailable
from mesh_store.redis import Limiter, connect

HOUR = 3_600_000_000
T0 = 1_000_000_000_000


@pytest.fixture
def team(tag: str) -> Callable[..., Charge]:
    return lambda amount=1, limit=10: Charge(
        f"{{{tag}}}:q:team:t1:requests", Limit(amount=limit, period_us=HOUR), amount
    )


@pytest.fixture
def everywhere(tag: str) -> Callable[..., Charge]:
    return lambda amount=1, limit=10: Charge(
        f"{{user-{tag}}}:q:user:u1:requests", Limit(amount=limit, period_us=HOUR), amount
    )


@pytest.fixture
def target(tag: str) -> Callable[..., Charge]:
    return lambda amount=1, limit=10: Charge(
        f"{{target-{tag}}}:q:target:x:requests", Limit(amount=limit, period_us=HOUR), amount
    )


async def test_all_tags_are_charged_under_one_id(
    decide: Callable[..., Any], team: Any, everywhere: Any, client: redis.Redis
) -> None:
    decision = await decide("reserve", [everywhere(2), team(3)], now_us=T0)
    assert decision.admitted
    assert decision.remaining == (8, 7)
    records = [key for key in client.keys("*") if key.endswith(decision.reservation.id.encode())]
    assert len(records) == 2
    assert await decide("settle", decision.reservation, (-1, -1), now_us=T0)
    assert (await decide("peek", [everywhere(), team()], now_us=T0)).remaining == (9, 8)
    assert not await decide("settle", decision.reservation, (-1, -1), now_us=T0)


async def test_a_denial_of_the_second_tag_gives_the_first_back(
    decide: Callable[..., Any], team: Any, everywhere: Any, target: Any
) -> None:
    charges = [team(4), everywhere(4), target(11)]
    denied = await decide("reserve", charges, now_us=T0)
    assert not denied.admitted
    assert denied.binding == 2
    assert denied.retry_after_us is None
    assert denied.remaining == (10, 10, 10)
    assert (await decide("peek", charges, now_us=T0)).remaining == (10, 10, 10)


async def test_a_denial_of_the_first_tag_never_touches_the_second(
    decide: Callable[..., Any], team: Any, everywhere: Any, client: redis.Redis
) -> None:
    denied = await decide("reserve", [team(11), everywhere()], now_us=T0)
    assert denied.remaining == (10, 10)
    assert denied.binding == 0
    assert not client.exists(everywhere().key)


async def test_an_error_of_the_second_tag_gives_the_first_back(
    decide: Callable[..., Any], team: Any, everywhere: Any, client: redis.Redis
) -> None:
    client.rpush(everywhere().key, "theirs")
    with pytest.raises(ConfigError):
        await decide("reserve", [team(4), everywhere()], now_us=T0)
    assert (await decide("peek", [team()], now_us=T0)).remaining == (10,)


async def test_a_booked_wait_is_the_longest_of_all_tags(
    decide: Callable[..., Any], team: Any, everywhere: Any
) -> None:
    await decide("reserve", [team(10), everywhere(9)], now_us=T0)
    booked = await decide("reserve", [team(1), everywhere(4)], max_wait_us=HOUR, now_us=T0)
    assert booked.wait_us == 3 * HOUR // 10


async def test_cancelling_reaches_every_tag(decide: Callable[..., Any], team: Any, everywhere: Any) -> None:
    decision = await decide("reserve", [team(4), everywhere(4)], now_us=T0)
    assert await decide("cancel", decision.reservation.id, decision.reservation.charges, now_us=T0)
    assert (await decide("peek", [team(), everywhere()], now_us=T0)).remaining == (10, 10)


def test_what_could_not_be_given_back_is_reported(proxy: Any, team: Any, everywhere: Any) -> None:
    orphans: list[tuple[str, list[str]]] = []
    with connect(proxy.url, deadline=0.3) as client:
        limiter = Limiter(
            client, orphaned=lambda id_, charges: orphans.append((id_, [c.key for c in charges]))
        )
        limiter.peek([team(), everywhere()])
        answered = 0
        receive = proxy.before_reply

        def after_the_first() -> None:
            nonlocal answered
            answered += 1
            if answered > 1:
                proxy.lose = 10**6
            receive()

        proxy.before_reply = after_the_first
        with pytest.raises(MeshError) as caught:
            limiter.reserve([team(), everywhere()], reservation_id="lost-half")
    assert isinstance(caught.value, QuotaUnavailable)
    assert sorted(orphans) == sorted([("lost-half", [team().key]), ("lost-half", [everywhere().key])])
