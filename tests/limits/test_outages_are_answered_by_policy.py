"""While Redis cannot decide each limit's own policy answers, and a share is never more than a share."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model import Charge, ConfigError, Limit, QuotaUnavailable
from mesh_store.redis import connect, connect_async
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedAsyncLimiter, GuardedLimiter
from mesh_store.redis.outage import OutagePolicy
from mesh_store.redis.presence import CLIENTS_KEY, Presence

MINUTE = 60_000_000
AWAY = "unix:///nonexistent/socket"
ERROR = QuotaUnavailable("away", retry_after=1.0)


def limit(on_outage: Any = "share", amount: int = 60, burst: int = 6, **more: Any) -> Limit:
    return Limit(amount=amount, burst=burst, period_us=MINUTE, on_outage=on_outage, **more)


def charge(rule: Limit, amount: int = 1, key: str = "{t}:q:a", **more: Any) -> Charge:
    return Charge(key, rule, amount, **more)


class Clock:
    """Monotonic microseconds that pass when told."""

    def __init__(self) -> None:
        self.now = 5_000_000

    def __call__(self) -> int:
        return self.now


def policy(clients: int | None, clock: Clock | None = None) -> OutagePolicy:
    return OutagePolicy(lambda: clients, clock_us=clock or Clock())


def admits(decider: OutagePolicy, *charges: Charge) -> bool:
    try:
        return decider.decide(charges, "r", 1_000, ERROR).admitted
    except QuotaUnavailable:
        return False


class TestOnePolicyEach:
    def test_closed_refuses_and_says_when_to_come_back(self) -> None:
        with pytest.raises(QuotaUnavailable, match="closed") as caught:
            policy(1).decide([charge(limit("closed"))], "r", 1, ERROR)
        assert caught.value.retry_after == 1.0

    def test_open_admits_and_says_that_nothing_was_checked(self) -> None:
        decision = policy(None).decide([charge(limit("open"))], "r", 1, ERROR)
        assert (decision.admitted, decision.enforced) == (True, False)
        assert decision.reservation is not None

    def test_a_budget_is_closed_even_where_a_share_was_asked_for(self) -> None:
        assert not admits(policy(1, Clock()), charge(limit(kind="window", amount=10**12), 1))

    def test_a_share_of_an_unknown_number_is_closed(self) -> None:
        clock = Clock()
        decider = policy(None, clock)
        assert not admits(decider, charge(limit()))
        clock.now += MINUTE
        assert not admits(decider, charge(limit()))

    def test_one_that_refuses_takes_from_none(self) -> None:
        clock = Clock()
        decider = policy(1, clock)
        assert not admits(decider, charge(limit()))
        clock.now += 1_000_000
        assert not admits(decider, charge(limit()), charge(limit("closed"), key="{t}:q:b"))
        assert admits(decider, charge(limit()), charge(limit("open"), key="{t}:q:b"))

    def test_shadow_limits_never_refuse(self) -> None:
        assert admits(policy(1), charge(limit("closed"), enforce=False))


class TestAShare:
    def test_starts_empty_and_fills_at_its_part_of_the_rate(self) -> None:
        clock = Clock()
        decider = policy(4, clock)
        with pytest.raises(QuotaUnavailable) as caught:
            decider.decide([charge(limit())], "r", 1, ERROR)
        assert caught.value.retry_after == 4.0
        clock.now += 3_999_999
        assert not admits(decider, charge(limit()))
        clock.now += 1
        assert admits(decider, charge(limit()))
        assert not admits(decider, charge(limit()))

    def test_is_empty_again_after_redis_was_back(self) -> None:
        clock = Clock()
        decider = policy(1, clock)
        admits(decider, charge(limit()))
        decider.recovered()
        clock.now += MINUTE
        assert not admits(decider, charge(limit()))

    def test_lets_a_large_call_through_once_it_has_come_together(self) -> None:
        clock = Clock()
        tokens = limit(amount=6_000, burst=1_000)
        decider = policy(50, clock)
        assert not admits(decider, charge(tokens, 800))
        clock.now += MINUTE // 6_000 * 50 * 800
        assert admits(decider, charge(tokens, 800))
        assert not admits(decider, charge(tokens, 20))

    @pytest.mark.parametrize("kind", ["soft", "hard", "slots"])
    @given(
        amount=st.integers(1, 200),
        clients=st.integers(1, 12),
        steps=st.lists(st.tuples(st.integers(0, 4_000_000), st.integers(1, 8)), max_size=60),
    )
    def test_all_shares_together_admit_at_most_the_amount_in_the_first_period(
        self, kind: str, amount: int, clients: int, steps: list[tuple[int, int]]
    ) -> None:
        if kind == "slots":
            rule = Limit(amount=amount, period_us=MINUTE, kind="slots", on_outage="share")
        else:
            hard = kind == "hard" and amount > 1
            rule = limit(amount=amount, burst=max(1, amount // 10), hard=hard)
        clock = Clock()
        start = clock.now
        deciders = [policy(clients, clock) for _ in range(clients)]
        for decider in deciders:
            admits(decider, charge(rule))
        taken: list[tuple[int, int]] = []
        for passes, units in steps:
            clock.now += passes
            taken += [(clock.now, units) for decider in deciders if admits(decider, charge(rule, units))]
        assert sum(units for at, units in taken if at < start + MINUTE) <= amount
        if kind != "soft":
            for first, _ in taken:
                assert sum(units for at, units in taken if first <= at < first + MINUTE) <= amount
        if kind == "slots":
            assert not [at for at, _ in taken if at < start + MINUTE]

    def test_is_spent_by_one_of_many_threads(self) -> None:
        clock = Clock()
        decider = policy(1, clock)
        admits(decider, charge(limit(burst=60)))
        clock.now += 10_000_000
        won: list[bool] = []

        def spend() -> None:
            won.extend(admits(decider, charge(limit(burst=60))) for _ in range(10))

        threads = [threading.Thread(target=spend) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(won) == 10

    def test_that_cannot_be_counted_exactly_is_refused(self) -> None:
        rare = Limit(amount=1, period_us=366 * 24 * 60 * MINUTE, on_outage="share")
        assert not admits(policy(1_000), charge(rare))


@pytest.fixture(params=["sync", "async"])
async def guarded(request: pytest.FixtureRequest) -> Any:
    """Reserve through a guarded limiter of either colour: ``await guarded(url, guard, charges)``."""

    async def reserve(url: str, guard: Guard, charges: list[Charge], **options: Any) -> Any:
        if request.param == "sync":
            with connect(url, deadline=2) as client:
                return GuardedLimiter(client, guard).reserve(charges, **options)
        async with connect_async(url, deadline=2) as aclient:
            return await GuardedAsyncLimiter(aclient, guard).reserve(charges, **options)

    return reserve


class TestAroundTheLimiter:
    async def test_an_outage_is_answered_by_policy(self, guarded: Callable[..., Any]) -> None:
        guard = Guard(Breaker(), policy(1))
        decision = await guarded(AWAY, guard, [charge(limit("open"))], reservation_id="mine")
        assert (decision.admitted, decision.enforced) == (True, False)
        assert decision.reservation.id == "mine"
        with pytest.raises(QuotaUnavailable):
            await guarded(AWAY, guard, [charge(limit("closed"))])
        health = guard.health()
        assert (health.failures, health.admitted_unenforced, health.refused_unchecked) == (2, 1, 1)

    @pytest.mark.parametrize("query", ["?username=narrow&password=wrong", "?username=narrow&password=pw"])
    async def test_a_mistake_never_opens_a_limit(
        self, guarded: Callable[..., Any], server: Any, client: Any, query: str
    ) -> None:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+get", "+ping")
        try:
            guard = Guard(Breaker(), policy(1))
            for _ in range(7):
                with pytest.raises(ConfigError):
                    await guarded(server.url + query, guard, [charge(limit("open"))])
            assert guard.health().state == "closed"
        finally:
            client.execute_command("ACL", "DELUSER", "narrow")

    async def test_a_probe_that_finds_a_mistake_is_an_answer(
        self, guarded: Callable[..., Any], server: Any, client: Any
    ) -> None:
        now = 0.0
        breaker = Breaker(clock=lambda: now)
        for _ in range(5):
            breaker.failed(OSError("away"))
        now = 2.0
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+get", "+ping")
        try:
            with pytest.raises(ConfigError):
                url = f"{server.url}?username=narrow&password=pw"
                await guarded(url, Guard(breaker, policy(1)), [charge(limit("open"))])
        finally:
            client.execute_command("ACL", "DELUSER", "narrow")
        assert breaker.state == "closed"

    async def test_a_reservation_cancelled_before_it_came_is_no_outage(
        self, guarded: Callable[..., Any], server: Any, limiter: Any, tag: str
    ) -> None:
        asked = [charge(limit("open"), key=f"{{{tag}}}:q:a")]
        limiter.cancel("gone", asked)
        guard = Guard(Breaker(), policy(1))
        with pytest.raises(QuotaUnavailable, match="cancelled"):
            await guarded(server.url, guard, asked, reservation_id="gone")
        assert guard.health().failures == 0

    async def test_what_policy_admitted_settles_to_nothing_but_a_lost_grant_is_trued_up(
        self, guarded: Callable[..., Any], limiter: Any, client: Any, tag: str
    ) -> None:
        asked = [charge(limit("open"), 3, key=f"{{{tag}}}:q:a")]
        decision = await guarded(AWAY, Guard(Breaker(), policy(1)), asked)
        assert limiter.settle(decision.reservation, (2,)) is False
        assert limiter.peek(asked).remaining == (6,)
        granted = limiter.reserve(asked, reservation_id="heard-by-nobody")
        assert granted.remaining == (3,)
        decision = await guarded(AWAY, Guard(Breaker(), policy(1)), asked, reservation_id="heard-by-nobody")
        assert limiter.settle(decision.reservation, (-3,)) is True
        assert limiter.peek(asked).remaining == (6,)

    async def test_redis_decides_again_as_soon_as_it_answers(
        self, guarded: Callable[..., Any], server: Any, tag: str
    ) -> None:
        guard, asked = Guard(Breaker(), policy(1)), [charge(limit(), key=f"{{{tag}}}:q:a")]
        with pytest.raises(QuotaUnavailable, match="share"):
            await guarded(AWAY, guard, asked)
        decision = await guarded(server.url, guard, asked)
        assert (decision.admitted, decision.enforced) == (True, True)


class TestWhoIsThere:
    @pytest.fixture(autouse=True)
    def nobody(self, client: Any) -> None:
        client.delete(CLIENTS_KEY)

    def test_everybody_who_beats_is_counted_from_the_second_beat_on(self, server: Any) -> None:
        present = [Presence(server.url, beat_s=0) for _ in range(3)]
        for one in present:
            one.beat()
            assert one.count is None
        for one in present:
            one.beat()
            assert one.count == 3

    def test_beats_too_soon_after_another_do_not_count(self, server: Any) -> None:
        one = Presence(server.url, beat_s=60)
        for _ in range(3):
            one.beat()
        assert one.count is None

    def test_who_does_not_beat_is_forgotten(self, server: Any, client: Any) -> None:
        seconds, micros = client.time()
        client.zadd(CLIENTS_KEY, {"ab": seconds * 1_000_000 + micros - 15_000_001})
        one = Presence(server.url, beat_s=0)
        one.beat()
        one.beat()
        assert one.count == 1

    def test_it_beats_by_itself_and_leaves_when_closed(self, server: Any, client: Any) -> None:
        one = Presence(server.url, beat_s=0.01)
        one.start()
        deadline = time.monotonic() + 60
        while one.count is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert one.count == 1
        one.close()
        assert client.zcard(CLIENTS_KEY) == 0

    def test_an_outage_leaves_the_count_as_it_was(self, server: Any) -> None:
        one = Presence(server.url, beat_s=0)
        one.beat()
        one.beat()
        one._client = connect(AWAY)
        with pytest.raises(QuotaUnavailable):
            one.beat()
        assert one.count == 1

    def test_a_forked_child_is_somebody_nobody_has_seen(self, server: Any) -> None:
        one = Presence(server.url, beat_s=0)
        one.beat()
        one.beat()
        member = one._member
        one._after_fork()
        assert one.count is None
        assert one._member != member
