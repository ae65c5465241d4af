"""Who wants to hear of a budget hears once of each threshold, whoever watches and whoever fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh_store.model.facts import Settlement
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.postgres.usage_budgets import Budget, BudgetState, Spent
from mesh_store.telemetry import spending
from mesh_store.telemetry.exporters.alerts import Alert, due
from mesh_store.telemetry.exporters.running import Exporter
from tests.outputs.hearing import Sink, collect, export

DAY = Limit(amount=10**13, period_us=86_400_000_000, kind="window", tz="UTC")


def spend(place: Any, limit: Any, pico: int) -> None:
    fact = place.fact()
    charge = Charge(f"{{{place.team_id}}}:q:{limit.id}", DAY, pico)
    reservation = Reservation(fact.call_id, (charge,), now_us(), now_us() + 10**9)
    spent = spending.spending_of(Settlement(reservation, (pico,)), fact.id)
    assert spent is not None
    place.send(fact, money=spending.encode([spent]))
    asyncio.run(collect(place))


def test_a_budget_is_told_once_at_each_threshold_and_again_when_nobody_took_it(place: Any, hook: Any) -> None:
    url, told, answers = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))

    def mine() -> list[Any]:
        export(place, [], rounds=0, webhooks=[url])
        return [(alert["percent"], alert["spent_usd"]) for alert in told if alert["limit_id"] == limit.id]

    assert mine() == []
    spend(place, limit, 5 * 10**12)
    answers.append(503)
    assert mine() == []
    assert mine() == [(50, "5")]
    assert mine() == [(50, "5")]
    spend(place, limit, 5 * 10**12)
    assert mine() == [(50, "5"), (100, "10")]
    (alert, *_) = [alert for alert in told if alert["limit_id"] == limit.id]
    assert (alert["whose"], alert["limit_usd"]) == (f"team {place.team}", "10")


@pytest.mark.parametrize("cap", [10, 10**12, 3])
def test_a_threshold_is_passed_at_it_and_not_a_pico_dollar_before(cap: int) -> None:
    state = BudgetState(Budget("{t}:q:b", "t", DAY), "b1", "team t", cap)

    def percent(spent: int) -> int:
        alert = due(state, Spent(spent, 1), now_us())
        return alert.percent if alert else 0

    for threshold, before in ((50, 0), (80, 50), (100, 80)):
        reached = -(-cap * threshold // 100)
        assert percent(reached) >= threshold
        assert percent(reached - 1) <= before
    assert percent(cap * 3) == 100
    assert percent(0) == 0


def test_an_alert_says_what_was_spent_of_what_and_when() -> None:
    state = BudgetState(Budget("{t}:q:b", "t", DAY), "b1", "team t", 20 * 10**12)
    alert = due(state, Spent(10 * 10**12 + 5 * 10**11, 1), 86_400_000_000 * 3 + 7)
    assert alert == Alert(
        limit_id="b1",
        whose="team t",
        percent=50,
        spent_usd="10.5",
        limit_usd="20",
        window_start_us=86_400_000_000 * 3,
        window_end_us=86_400_000_000 * 4,
    )


def test_a_budget_of_nothing_is_not_passed_before_something_is_spent() -> None:
    state = BudgetState(Budget("{t}:q:b", "t", DAY), "b1", "team t", 0)
    assert due(state, Spent(0, 0), now_us()) is None
    assert due(state, Spent(1, 1), now_us()) is not None


def test_of_several_processes_that_watch_one_tells(place: Any, hook: Any) -> None:
    url, told, _ = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))
    spend(place, limit, 8 * 10**12)

    async def watch() -> None:
        watching = [
            Exporter(place.facts_url, [], database_url=place.engines.database_url, webhooks=[url])
            for _ in range(4)
        ]
        await asyncio.gather(*(one.check_budgets() for one in watching))
        await asyncio.gather(*(one.check_budgets() for one in watching))
        for one in watching:
            await one.close()

    asyncio.run(watch())
    assert [alert["percent"] for alert in told if alert["limit_id"] == limit.id] == [80]


def test_a_recipient_that_fails_is_told_again_and_the_others_are_not(
    place: Any, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, told, _ = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))
    spend(place, limit, 10**13)
    nobody = "http://127.0.0.1:9/secret-path"
    for _ in range(2):
        export(place, [], rounds=0, webhooks=[nobody, url])
    assert [alert["percent"] for alert in told if alert["limit_id"] == limit.id] == [100]
    assert "webhook 127.0.0.1" in caplog.text
    assert "secret-path" not in caplog.text


def test_sinks_of_plugins_hear_of_budgets(place: Any) -> None:
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$1/day"))
    spend(place, limit, 8 * 10**11)
    sink = Sink()
    export(place, [sink], rounds=0)
    assert [alert.percent for alert in sink.alerts if alert.limit_id == limit.id] == [80]
