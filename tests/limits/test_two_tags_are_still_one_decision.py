"""Limits that span teams live under their own tags: decided second, given back on denial."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, ConfigError, Limit, MeshError, QuotaUnavailable
from mesh_store.redis import Limiter, connect, reserving
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedAsyncLimiter, GuardedLimiter
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.outage import OutagePolicy
from tests.limits.conftest import PATIENCE

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


def test_one_moment_says_whose_day_is_charged_though_midnight_passes_between_two_tags(
    limiter: Limiter, client: redis.Redis, tag: str
) -> None:
    budget, midnight = Limit(amount=10**13, period_us=24 * HOUR, kind="window"), 20_000 * 24 * HOUR
    charges = [Charge(f"{{{whose}-{tag}}}:q:usd", budget, 10**12) for whose in ("team", "user")]
    client.mset({f"{{{whose}-{tag}}}:tracked": 0 for whose in ("team", "user")})
    asks = reserving.asked(charges, "late", HOUR, 0, midnight - 1)
    first = limiter._driver.ask(asks[0], midnight - 1)
    decision = limiter._driver.follow(reserving.rest(asks, first, midnight + 1, limiter._watch))
    assert decision.admitted
    today, tomorrow = 9 * 10**12, 10**13
    assert limiter.peek(charges, now_us=midnight - 1).remaining == (today, today)
    assert limiter.peek(charges, now_us=midnight + 1).remaining == (tomorrow, tomorrow)


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
    with connect(proxy.url, deadline=1) as client:
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


def guard_of(cancelled: list[str], held: list[str]) -> Guard:
    """A guard of a process that holds a slice of whatever refuses; ``held`` says when it was given back."""

    class Hoard(LeaseBook):
        def give_back(self, key: str) -> bool:
            held.append(key)
            return True

    def flush(timeout_s: float) -> bool:
        return True

    return Guard(Breaker(), OutagePolicy(), Hoard(), flush, lambda id_, charges: cancelled.append(id_))


@pytest.mark.parametrize("first", ["team", "everywhere"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_refusal_stays_one_when_a_slice_of_its_limit_is_given_back(
    client: redis.Redis, aclient: redis.asyncio.Redis, team: Any, everywhere: Any, colour: str, first: str
) -> None:
    charges = [team(), everywhere(11)] if first == "team" else [everywhere(11), team()]
    given_back: list[str] = []
    guard = guard_of([], given_back)
    if colour == "sync":
        decision = GuardedLimiter(client, guard).reserve(charges)
    else:
        decision = await GuardedAsyncLimiter(aclient, guard).reserve(charges)
    assert not decision.admitted
    assert given_back == [everywhere().key]


def test_a_refusal_whose_first_half_may_stand_is_cancelled_by_the_ring(
    proxy: Any, client: redis.Redis, team: Any, everywhere: Any
) -> None:
    cancelled: list[str] = []
    with connect(proxy.url, deadline=PATIENCE) as through:
        limiter = GuardedLimiter(through, guard_of(cancelled, []))
        limiter.peek([team(), everywhere()])
        replies = 0

        def third() -> None:
            # Granted, refused, and then what gives the first back is lost on its way, and its replay.
            nonlocal replies
            replies += 1
            proxy.lose = 1 if replies in (3, 4) else 0

        proxy.before_reply = third
        decision = limiter.reserve([team(), everywhere(11)], reservation_id="half-stands")
    assert not decision.admitted
    assert cancelled == ["half-stands"]


@pytest.mark.parametrize(
    ("later", "heard"),
    [(False, 1), (False, 2), (True, 2), (True, 3), (True, 4)],
    ids=lambda said: ("first", "later")[said] if isinstance(said, bool) else f"{said} replies",
)
def test_a_refusal_stays_one_when_the_others_cannot_be_looked_at(
    proxy: Any, team: Any, everywhere: Any, later: bool, heard: int
) -> None:
    charges = [team(1), everywhere(11)] if later else [team(11), everywhere(1)]
    with connect(proxy.url, deadline=1) as through:
        limiter = Limiter(through)
        limiter.peek([team(), everywhere()])
        replies = 0

        def lost_from_then_on() -> None:
            nonlocal replies
            replies += 1
            proxy.lose = 10**6 if replies > heard else 0

        proxy.before_reply = lost_from_then_on
        decision = limiter.reserve(charges)
        proxy.before_reply = lambda: None
        proxy.lose = 0
    assert not decision.admitted
    assert decision.binding == int(later)
    # Granted, refused, given back, peeked at; or refused and peeked at.
    assert decision.unseen == (() if heard == (4 if later else 2) else (int(not later),))
    assert decision.remaining[decision.binding] == 10
