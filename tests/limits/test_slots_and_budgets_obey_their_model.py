"""Lives of slots and budgets on the real scripts in virtual time, step by step against the model.

Reserved, settled, settled late and twice, renewed, expired, committed by a collector, lost with the whole of
Redis and counted anew: after every step both say the same.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.limits import SEEDING_US, Charge, Limit, Reservation
from mesh_store.model.reference import Reference
from mesh_store.model.windows import window_of
from mesh_store.redis import Limiter
from mesh_store.redis.budgets import Budgets

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
#: Long enough that no record expires by itself: records go by virtual time in one, by real time in the other.
TTL = 2**49
LIMITS = {
    "slots": Limit(amount=3, period_us=MINUTE, kind="slots"),
    "wide": Limit(amount=9, period_us=10 * MINUTE, kind="slots"),
    "day": Limit(amount=50, period_us=DAY, kind="window", tz="Europe/Berlin"),
    "hour": Limit(amount=3 * 10**12, period_us=HOUR, kind="window"),
    "rate": Limit(amount=60, period_us=MINUTE, burst=20),
    "hard": Limit(amount=60, period_us=MINUTE, hard=True),
    "apart": Limit(amount=4, period_us=HOUR, kind="distinct"),
}
AMOUNTS = {
    "slots": st.integers(0, 4), "wide": st.integers(0, 3), "day": st.integers(0, 60),
    "hour": st.sampled_from([0, 1, 10**6 - 1, 10**6, 10**12 + 7, 3 * 10**12, 4 * 10**12]),
    "rate": st.integers(0, 25), "hard": st.integers(0, 7), "apart": st.integers(1, 7),
}  # fmt: skip
#: The evening before Berlin's clocks change: a day of 25 hours lies ahead.
START = int(datetime(2031, 10, 25, 20, tzinfo=UTC).timestamp()) * 1_000_000


class Lives(RuleBasedStateMachine):
    """The rules; ``client`` is set by the test."""

    client: ClassVar[redis.Redis]

    def __init__(self) -> None:
        super().__init__()
        self.limiter, self.budgets = Limiter(self.client), Budgets(self.client)
        self.model = Reference(done_us=2**60)
        self.tag, self.now, self.count, self.version = uuid.uuid4().hex, START, 0, 0
        self.kept: list[Reservation] = []
        #: What the ledger counted, by budget and start of the window, and which reservations it holds.
        self.ledger: dict[tuple[str, int], int] = {}
        self.counted: set[str] = set()
        self.budgets.track(self.tag, 0)

    def key(self, name: str) -> str:
        return f"{{{self.tag}}}:q:{name}"

    @rule(
        step=st.sampled_from([0, 1, 1_000_000, 20_000_000, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, DAY, 8 * DAY])
    )
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule()
    def a_window_is_about_to_end(self) -> None:
        self.now = window_of(LIMITS["day"], self.now).end_us - 1

    @rule(
        names=st.sets(st.sampled_from(list(LIMITS)), min_size=1),
        data=st.data(),
        shadow=st.sampled_from([0, 0, 1]),
    )
    def reserve(self, names: set[str], data: st.DataObject, shadow: int) -> None:
        charges = [
            Charge(
                self.key(name), LIMITS[name], data.draw(AMOUNTS[name]), not (shadow and name == min(names))
            )
            for name in sorted(names)
        ]
        self.count += 1
        options: dict[str, Any] = {"reservation_id": f"r{self.count}", "ttl_us": TTL, "now_us": self.now}
        real, expected = self.limiter.reserve(charges, **options), self.model.reserve(charges, **options)
        assert self.told(real) == self.told(expected)
        if real.reservation is not None:
            self.kept.append(real.reservation)

    @staticmethod
    def told(decision: Any) -> tuple[Any, ...]:
        return (
            decision.admitted, decision.binding, decision.retry_after_us, decision.remaining,
            decision.shadow_denied, decision.reservation and decision.reservation.reserved_at_us,
        )  # fmt: skip

    def drawn(self, data: st.DataObject) -> Reservation:
        return data.draw(st.sampled_from(self.kept))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def settle_perhaps_twice_or_late(self, data: st.DataObject) -> None:
        held = self.drawn(data)
        deltas = [data.draw(st.integers(-charge.amount, 5)) for charge in held.charges]
        real = self.limiter.settle(held, deltas, now_us=self.now)
        assert real == self.model.settle(held, deltas, now_us=self.now)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        held = self.drawn(data)
        real = self.limiter.cancel(held.id, held.charges, reserved_at_us=held.reserved_at_us, now_us=self.now)
        assert real == self.model.cancel(held, now_us=self.now)
        with pytest.raises(QuotaUnavailable):  # what comes late under a closed id is refused
            self.limiter.reserve(held.charges, reservation_id=held.id, now_us=self.now)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = self.drawn(data)
        [real] = self.limiter.renew([held], ttl_us=TTL, now_us=self.now)
        assert real == self.model.renew(held, now_us=self.now)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def a_record_is_missing(self, data: st.DataObject) -> None:
        held = self.drawn(data)
        if self.client.get(f"{{{self.tag}}}:r:{held.id}") != b"done":
            self.client.delete(f"{{{self.tag}}}:r:{held.id}")
            self.model.forget(held.id)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), stale=st.booleans())
    def a_collector_commits(self, data: st.DataObject, stale: bool) -> None:
        held = self.drawn(data)
        for charge in held.charges:
            if charge.limit.kind != "window":
                continue
            place = (charge.key, window_of(charge.limit, held.reserved_at_us).start_us)
            if held.id not in self.counted:
                self.ledger[place] = self.ledger.get(place, 0) + charge.amount
            self.version += not stale
            said = (self.ledger.get(place, 0), self.version)
            real = self.budgets.commit(
                charge.key, charge.limit, held.reserved_at_us,
                spent_pico=said[0], version=said[1], settled=[held.id], now_us=self.now,
            )  # fmt: skip
            assert real == self.model.commit(charge, held.reserved_at_us, *said, [held.id])
        self.counted.add(held.id)

    @rule()
    def redis_forgets_and_the_ledger_counts_anew(self) -> None:
        for key in self.client.scan_iter(f"{{{self.tag}}}*"):
            self.client.delete(key)
        for name in ("day", "hour"):
            [charge] = [Charge(self.key(name), LIMITS[name], 1)]
            refused = self.limiter.reserve([charge], now_us=self.now)
            assert (refused.admitted, refused.retry_after_us) == (False, SEEDING_US)
        self.model = Reference(done_us=2**60)
        for (key, starts_us), spent in self.ledger.items():
            limit = LIMITS[key.rsplit(":", 1)[1]]
            self.version += 1
            self.budgets.commit(
                key, limit, starts_us, spent_pico=spent, version=self.version, now_us=self.now
            )
            self.model.commit(Charge(key, limit, 0), starts_us, spent, self.version, [])
        self.budgets.track(self.tag, 0)

    @rule(names=st.sets(st.sampled_from(list(LIMITS)), min_size=1))
    def nothing_is_below_zero_or_above_full(self, names: set[str]) -> None:
        seen = self.limiter.peek([Charge(self.key(n), LIMITS[n], 0) for n in sorted(names)], now_us=self.now)
        for name, left in zip(sorted(names), seen.remaining, strict=True):
            most = LIMITS[name].burst if LIMITS[name].kind == "rate" else LIMITS[name].amount
            assert 0 <= left <= most


def live(client: redis.Redis, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        type("Lives", (Lives,), {"client": client}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate, Phase.shrink],
        ),
    )


def test_a_thousand_random_steps_agree(client: redis.Redis) -> None:
    live(client, examples=25, steps=40)


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_twenty_thousand_random_steps_agree(client: redis.Redis) -> None:
    live(client, examples=300, steps=80)


def test_the_model_is_not_the_script_repeated() -> None:
    """A budget's entry is its actual, a slot is free at its lease's end: said once more, by hand."""
    model, day = Reference(), LIMITS["day"]
    charge, slot = Charge("k", day, 30), Charge("s", LIMITS["slots"], 3)
    first = model.reserve([charge, slot], reservation_id="a", now_us=START)
    assert first.remaining == (20, 0)
    assert first.reservation is not None
    assert not model.reserve([slot], reservation_id="b", now_us=START + MINUTE - 1).admitted
    assert model.reserve([slot], reservation_id="c", now_us=START + MINUTE).admitted
    assert model.settle(first.reservation, (-25, 0), now_us=START + MINUTE)
    left = model.reserve([msgspec.structs.replace(charge, amount=0)], reservation_id="d", now_us=START)
    assert left.remaining == (45,)
