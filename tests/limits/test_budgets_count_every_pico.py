"""A calendar budget never admits more than it holds, and never forgets what was spent."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from mesh_store.model import Charge, Limit
from mesh_store.redis import Budgets, Limiter

DAY = 86_400_000_000
DOLLAR = 10**12


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


NOON = at("2031-03-05T12:00")
MIDNIGHT = at("2031-03-06T00:00")


@pytest.fixture
def budgets(client: redis.Redis, tag: str) -> Budgets:
    made = Budgets(client)
    made.track(tag, at("2031-03-01T00:00"))
    return made


@pytest.fixture
def usd(tag: str) -> Callable[..., Charge]:
    def charge(pico: int, amount: int = 10 * DOLLAR, **terms: Any) -> Charge:
        limit = Limit(amount=amount, period_us=DAY, kind="window", on_outage="closed", **terms)
        return Charge(f"{{{tag}}}:q:team:t1:usd", limit, pico)

    return charge


@pytest.mark.usefixtures("budgets")
class TestWithinAWindow:
    async def test_estimates_are_admitted_up_to_the_last_pico(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        first = await decide("reserve", [usd(10 * DOLLAR - 1)], now_us=NOON)
        assert first.admitted
        assert first.remaining == (1,)
        refused = await decide("reserve", [usd(2)], now_us=NOON)
        assert not refused.admitted
        assert refused.retry_after_us == MIDNIGHT - NOON
        assert (await decide("reserve", [usd(1)], now_us=NOON)).admitted

    async def test_the_actual_replaces_the_estimate(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        decision = await decide("reserve", [usd(4 * DOLLAR)], now_us=NOON)
        assert await decide("settle", decision.reservation, (-3 * DOLLAR,), now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (9 * DOLLAR,)
        assert not await decide("settle", decision.reservation, (-3 * DOLLAR,), now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (9 * DOLLAR,)

    async def test_more_than_the_estimate_is_counted_and_closes_the_budget(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        decision = await decide("reserve", [usd(4 * DOLLAR)], now_us=NOON)
        await decide("settle", decision.reservation, (8 * DOLLAR,), now_us=NOON)
        refused = await decide("reserve", [usd(1)], now_us=NOON)
        assert refused.remaining == (0,)
        assert refused.retry_after_us == MIDNIGHT - NOON

    async def test_an_amount_above_the_budget_can_never_fit(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        assert (await decide("reserve", [usd(11 * DOLLAR)], now_us=NOON)).retry_after_us is None

    async def test_a_cancelled_estimate_is_free_again(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        decision = await decide("reserve", [usd(4 * DOLLAR)], now_us=NOON)
        assert await decide("cancel", decision.reservation.id, [usd(4 * DOLLAR)], now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (10 * DOLLAR,)

    async def test_a_settlement_counts_even_when_redis_lost_the_estimate(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], client: redis.Redis, tag: str
    ) -> None:
        decision = await decide("reserve", [usd(4 * DOLLAR)], now_us=NOON)
        for key in client.keys(f"{{{tag}}}:[qr]:*"):
            client.delete(key)
        assert not await decide("settle", decision.reservation, (-DOLLAR,), now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (7 * DOLLAR,)

    async def test_budgets_far_above_nine_thousand_dollars_stay_exact(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        million = 1_000_000 * DOLLAR
        decision = await decide("reserve", [usd(million - 3, amount=million)], now_us=NOON)
        assert decision.remaining == (3,)
        await decide("settle", decision.reservation, (2,), now_us=NOON)
        assert (await decide("peek", [usd(0, amount=million)], now_us=NOON)).remaining == (1,)

    async def test_a_denied_budget_charges_no_other_limit(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], tag: str
    ) -> None:
        requests = Charge(f"{{{tag}}}:q:team:t1:requests", Limit(amount=5, period_us=60_000_000), 1)
        denied = await decide("reserve", [requests, usd(11 * DOLLAR)], now_us=NOON)
        assert denied.remaining == (5, 10 * DOLLAR)
        assert denied.binding == 1


class TestWindowsFollowTheCalendar:
    async def test_a_new_day_starts_full(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        await decide("reserve", [usd(10 * DOLLAR)], now_us=NOON)
        assert not (await decide("reserve", [usd(1)], now_us=MIDNIGHT - 1)).admitted
        assert (await decide("reserve", [usd(1)], now_us=MIDNIGHT)).admitted

    async def test_a_late_settlement_belongs_to_the_day_of_its_reservation(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        decision = await decide("reserve", [usd(DOLLAR)], now_us=MIDNIGHT - 1)
        await decide("settle", decision.reservation, (5 * DOLLAR,), now_us=MIDNIGHT + 60_000_000)
        assert (await decide("peek", [usd(0)], now_us=MIDNIGHT + 60_000_000)).remaining == (10 * DOLLAR,)
        assert (await decide("peek", [usd(0)], now_us=MIDNIGHT - 1)).remaining == (4 * DOLLAR,)

    async def test_a_late_cancel_finds_the_estimate_of_the_day_before(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        decision = await decide("reserve", [usd(DOLLAR)], now_us=MIDNIGHT - 1)
        await decide("cancel", decision.reservation.id, [usd(DOLLAR)], now_us=MIDNIGHT + 1)
        assert (await decide("peek", [usd(0)], now_us=MIDNIGHT - 1)).remaining == (10 * DOLLAR,)

    def test_a_callers_wrong_clock_is_corrected_by_the_servers(
        self,
        limiter: Limiter,
        usd: Callable[..., Charge],
        client: redis.Redis,
        tag: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        Budgets(client).track(tag, 0)
        monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000_000_000_000)
        decision = limiter.reserve([usd(DOLLAR)])
        assert decision.admitted
        assert limiter.peek([usd(0)]).remaining == (9 * DOLLAR,)
        assert limiter.settle(decision.reservation, (-DOLLAR,))
        assert limiter.peek([usd(0)]).remaining == (10 * DOLLAR,)


class TestTheLedgerHasTheLastWord:
    async def test_what_is_committed_leaves_the_open_sum(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        charge = usd(4 * DOLLAR)
        decision = await decide("reserve", [charge], now_us=NOON)
        await decide("settle", decision.reservation, (-DOLLAR,), now_us=NOON)
        commit = {"spent_pico": 3 * DOLLAR, "version": 7, "settled": [decision.reservation.id]}
        assert budgets.commit(charge.key, charge.limit, NOON, **commit, now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (7 * DOLLAR,)
        # A collector that died before its ack says it all again.
        assert not budgets.commit(charge.key, charge.limit, NOON, **commit, now_us=NOON)
        assert (await decide("peek", [usd(0)], now_us=NOON)).remaining == (7 * DOLLAR,)

    def test_an_older_version_does_not_lower_what_was_spent(
        self, limiter: Limiter, usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        key, limit = usd(0).key, usd(0).limit
        assert budgets.commit(key, limit, NOON, spent_pico=5 * DOLLAR, version=2, now_us=NOON)
        assert not budgets.commit(key, limit, NOON, spent_pico=4 * DOLLAR, version=1, now_us=NOON)
        assert limiter.peek([usd(0)], now_us=NOON).remaining == (5 * DOLLAR,)

    def test_a_duplicate_settlement_after_the_commit_is_taken_out_again(
        self, limiter: Limiter, usd: Callable[..., Charge], budgets: Budgets, client: redis.Redis, tag: str
    ) -> None:
        charge = usd(DOLLAR)
        decision = limiter.reserve([charge], now_us=NOON)
        assert decision.reservation
        commit = {"spent_pico": DOLLAR, "version": 1, "settled": [decision.reservation.id]}
        limiter.settle(decision.reservation, now_us=NOON)
        budgets.commit(charge.key, charge.limit, NOON, **commit, now_us=NOON)
        client.delete(f"{{{tag}}}:r:{decision.reservation.id}")
        limiter.settle(decision.reservation, now_us=NOON)
        assert limiter.peek([usd(0)], now_us=NOON).remaining == (8 * DOLLAR,)
        budgets.commit(charge.key, charge.limit, NOON, **commit, now_us=NOON)
        assert limiter.peek([usd(0)], now_us=NOON).remaining == (9 * DOLLAR,)

    def test_a_thousand_settled_reservations_are_taken_out_in_parts(
        self, limiter: Limiter, usd: Callable[..., Charge], budgets: Budgets
    ) -> None:
        charge = usd(1)
        ids = []
        for _ in range(200):
            decision = limiter.reserve([charge], now_us=NOON)
            assert decision.reservation
            ids.append(decision.reservation.id)
        assert budgets.commit(
            charge.key, charge.limit, NOON, spent_pico=200, version=1, settled=ids, now_us=NOON
        )
        assert limiter.peek([usd(0)], now_us=NOON).remaining == (10 * DOLLAR - 200,)


class TestMoneyIsNeverFreeAfterALoss:
    async def test_an_unseeded_window_refuses_and_asks_for_a_second(
        self, decide: Callable[..., Any], usd: Callable[..., Charge]
    ) -> None:
        refused = await decide("reserve", [usd(1)], now_us=NOON)
        assert not refused.admitted
        assert refused.remaining == (0,)
        assert refused.retry_after_us == 1_000_000

    async def test_a_window_that_began_before_tracking_waits_for_the_ledger(
        self, decide: Callable[..., Any], usd: Callable[..., Charge], client: redis.Redis, tag: str
    ) -> None:
        budgets = Budgets(client)
        budgets.track(tag, NOON)
        assert not (await decide("reserve", [usd(1)], now_us=NOON + 1)).admitted
        budgets.commit(usd(0).key, usd(0).limit, NOON, spent_pico=9 * DOLLAR, version=4, now_us=NOON)
        assert (await decide("reserve", [usd(DOLLAR)], now_us=NOON + 1)).admitted
        assert not (await decide("reserve", [usd(1)], now_us=NOON + 1)).admitted
        # The next day began after tracking did.
        assert (await decide("reserve", [usd(10 * DOLLAR)], now_us=MIDNIGHT)).admitted

    def test_tracking_never_moves_once_it_began(self, client: redis.Redis, tag: str) -> None:
        budgets = Budgets(client)
        budgets.track(tag, 5)
        budgets.track(tag, 9)
        assert budgets.tracked_since(tag) == 5
        assert budgets.tracked_since("nobody") is None
