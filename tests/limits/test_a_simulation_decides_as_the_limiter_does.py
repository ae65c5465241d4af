"""`mesh quota simulate` against the real scripts in virtual time: every call decided alike."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import redis

from mesh_plugins.simulation.manifests import document_of
from mesh_plugins.simulation.replay import Decided, replay
from mesh_plugins.simulation.report import Report
from mesh_plugins.simulation.traces import Row
from mesh_store.model.reference import Reference
from mesh_store.model.snapshot import Snapshot
from mesh_store.redis import Limiter
from mesh_store.redis.budgets import Budgets

MANIFEST = """
version: 1
users: [{name: ada}, {name: bob}]
teams:
  - name: research
    members: [ada, bob]
    limits:
      - 20 requests/min
      - 9 requests/10 s, hard, burst 3
      - 5k tokens/min, burst 2000
      - 3k output tokens/min, hard
      - 4 concurrent
      - $0.02/hour, tz Europe/Berlin
      - {end_user: "*", limit: "4 requests/min, burst 4", distinct: 5}
      - {end_user: u1, limit: "9 requests/min, burst 9"}
      - {end_user: "*", limit: "$0.005/day"}
  - name: sales
    limits: [{limit: "3 requests/min, burst 3", enforce: false}, {limit: 1 concurrent, enforce: false}]
providers:
  - {name: openai, kind: openai}
  - {name: local, kind: openai, base_url: "http://127.0.0.1:1/v1"}
aliases:
  - name: fast
    targets: [{provider: openai, model: gpt-4.1-mini}, {provider: local, model: small, tier: 2}]
limits:
  - {team: research, user: ada, limit: "7 requests/min, burst 7"}
  - {provider: openai, limit: "12 requests/min, burst 12"}
  - {alias: fast, target: local/small, limit: 2 concurrent}
  - {tag: "job=*", limit: "6 requests/min, burst 6"}
  - {alias: fast, limit: "8k input tokens/min, burst 4000"}
"""


def rows(seed: int, count: int) -> list[Row]:
    """Traffic with bursts and lulls, over several windows' ends."""
    chance = random.Random(seed)
    at_us, made = 1_900_000_000_000_000 + chance.randrange(10**10), []
    for _ in range(count):
        at_us += int(chance.expovariate(1 / chance.choice([1_000, 300_000, 3_000_000])))
        at_us += 900_000_000 * (chance.random() < 0.01)
        made.append(
            Row(
                at_us=at_us,
                team=chance.choice(["research", "research", "sales"]),
                alias=chance.choice(["fast"] * 30 + ["nowhere"]),
                user=chance.choice([None, "ada", "bob"]),
                end_user=chance.choice([None, *(f"u{n}" for n in range(8))]),
                tags={"job": str(chance.randrange(3))} if chance.random() < 0.5 else {},
                duration_us=chance.choice([1, 1_000_000, 30_000_000, 200_000_000]),
                input_tokens=chance.randrange(800),
                output_tokens=chance.randrange(400),
            )
        )
    return made


class Real:
    """The limiter over Redis in virtual time; calls that hold slots for longer than a lease are renewed."""

    def __init__(self, client: redis.Redis, tag: str) -> None:
        self._limiter, self._budgets, self._tag = Limiter(client), Budgets(client), tag
        self._tracked: set[str] = set()

    def reserve(self, charges: Any, **options: Any) -> Any:
        own = []
        for charge in charges:
            own.append(msgspec.structs.replace(charge, key=charge.key.replace("{", f"{{{self._tag}", 1)))
            self._track(own[-1].key.split("}")[0][1:])
        return self._limiter.reserve(own, **options)

    def settle(self, reservation: Any, deltas: Any = (), *, now_us: int) -> bool:
        return self._limiter.settle(reservation, deltas, now_us=now_us)

    def _track(self, tag: str) -> None:
        if tag not in self._tracked:
            self._tracked.add(tag)
            self._budgets.track(tag, 0)


def told(decided: Decided) -> tuple[Any, ...]:
    answer = decided.decision
    if answer is None:
        return (str(decided.error),)
    target = decided.plan.targets[0].id if decided.plan else None
    verdict = (answer.admitted, answer.binding, answer.retry_after_us, answer.shadow_denied)
    return (target, *verdict, answer.remaining)


@pytest.mark.parametrize("seed", range(3))
def test_every_decision_is_the_same(client: redis.Redis, tag: str, seed: int) -> None:
    snapshot, trace = Snapshot(document_of(MANIFEST, "m")), rows(seed, 700)
    simulated = [told(each) for each in replay(trace, snapshot, Reference())]
    real = [told(each) for each in replay(trace, snapshot, Real(client, tag))]
    assert [pair for pair in zip(simulated, real, strict=True) if pair[0] != pair[1]] == []
    admitted = sum(len(each) > 1 and each[1] for each in simulated)
    assert 100 < admitted < 600  # the trace tries both


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 130))
def test_every_decision_is_the_same_on_long_traces(client: redis.Redis, tag: str, seed: int) -> None:
    snapshot, trace = Snapshot(document_of(MANIFEST, "m")), rows(seed, 3_000)
    simulated = map(told, replay(trace, snapshot, Reference()))
    real = map(told, replay(trace, snapshot, Real(client, tag)))
    for number, (ours, theirs) in enumerate(zip(simulated, real, strict=True)):
        assert ours == theirs, number


def test_the_report_is_the_same_every_time_and_adds_up() -> None:
    document, trace = document_of(MANIFEST, "m"), rows(7, 500)
    first, second = (
        Report(document).add(replay(trace, Snapshot(document), Reference())).value() for _ in range(2)
    )
    assert first == second
    decided = first["admitted"] + first["refused"] + sum(first["not_decided"].values())
    assert first["calls"] == decided == 500
    enforced = [row for row in first["limits"] if row["enforced"]]
    assert first["refused"] == sum(row["refused"] for row in enforced) == len(first["refusals"])
    assert first["would_refuse"] > 0
    assert all(0 <= row["peak_percent"] <= 100 for row in first["limits"])
