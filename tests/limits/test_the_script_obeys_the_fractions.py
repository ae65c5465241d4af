"""Random lives of limits on the real script, held against a model in exact fractions.

The model shares no arithmetic with the code: it keeps each debt as one `Fraction` of a
microsecond. Every answer must be equal in every field, after any mixture of reserves, replays,
settlements, cancellations, changed limits and clocks that jump both ways.
"""

import math
import uuid
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from mesh_store.model import Charge, Limit
from mesh_store.redis import Limiter

SECOND, MINUTE, DAY = 1_000_000, 60_000_000, 86_400_000_000

LIMITS = [
    Limit(amount=3, period_us=10_000, burst=1),
    Limit(amount=7, period_us=MINUTE),
    Limit(amount=7, period_us=SECOND, burst=7),
    Limit(amount=700, period_us=SECOND),
    Limit(amount=199_999, period_us=MINUTE, burst=20_000),
    Limit(amount=1_000_003, period_us=DAY, burst=100_003),
    Limit(amount=1, period_us=DAY),
    Limit(amount=2**40 + 1, period_us=3_600 * SECOND, burst=2**39),
    Limit(amount=2**52 - 1, period_us=DAY, burst=2**50),
    Limit(amount=10, period_us=SECOND, burst=4, hard=True),
    Limit(amount=0, period_us=SECOND),
]


class Model:
    """What the script should hold: debts as fractions, records by id."""

    def __init__(self) -> None:
        self.debts: dict[str, tuple[int, Fraction, Limit]] = {}
        self.records: dict[str, Any] = {}

    @staticmethod
    def spacing(limit: Limit) -> Fraction:
        sustained = limit.amount - limit.burst if limit.hard else limit.amount
        return Fraction(limit.period_us, sustained or 1)

    def convert(self, debt: Fraction, old: Limit, new: Limit, *, up: bool) -> Fraction:
        if self.spacing(old) == self.spacing(new):
            return debt
        grain = self.spacing(new).denominator
        exact = debt / self.spacing(old) * self.spacing(new) * grain
        return self.capped(Fraction(math.ceil(exact) if up else math.floor(exact), grain))

    @staticmethod
    def capped(debt: Fraction) -> Fraction:
        """No debt outgrows 143 years: beyond it Lua could not count exactly."""
        return min(debt, Fraction(2**52))

    def level(self, key: str, now: int, limit: Limit | None = None) -> tuple[Fraction, Limit | None]:
        """Bring a debt to now; a jump or a changed rate stays, whatever is decided."""
        if key not in self.debts:
            return Fraction(0), limit
        at, debt, kept = self.debts[key]
        jumped = now < at
        debt = max(Fraction(0), debt - max(0, now - at))
        if debt == 0:
            # What has drained is owed at no rate. It is not written down, though: should the clock
            # go back, it is owed again.
            return debt, limit
        changed = limit is not None and self.spacing(limit) != self.spacing(kept)
        if changed:
            debt = self.convert(debt, kept, limit, up=True)
            kept = limit
        if jumped or changed:
            self.keep(key, now, debt, kept)
        return debt, kept

    def keep(self, key: str, now: int, debt: Fraction, limit: Limit) -> None:
        self.debts[key] = (now, debt, limit)
        if debt == 0:
            del self.debts[key]

    def peeked(self, charges: list[Charge], now: int) -> dict[str, Fraction]:
        before = dict(self.debts)
        levels = {charge.key: self.level(charge.key, now, charge.limit)[0] for charge in charges}
        self.debts = before
        return levels

    def answer(self, charges: list[Charge], levels: dict[str, Fraction], *, admitted: bool) -> dict[str, Any]:
        remaining, reset, waits = [], [], []
        for charge in charges:
            gap, level = self.spacing(charge.limit), levels[charge.key]
            tau = charge.limit.burst * gap
            remaining.append(max(0, math.floor((tau - level) / gap)))
            reset.append(math.ceil(level))
            wait = max(0, math.ceil(level + charge.amount * gap - tau))
            waits.append(None if charge.amount > charge.limit.burst else wait)
        ranked = [math.inf if wait is None else wait for wait in waits]
        return {
            "admitted": admitted,
            "remaining": tuple(remaining),
            "reset_after_us": tuple(reset),
            "retry_after_us": 0 if admitted else waits[ranked.index(max(ranked))],
            "binding": None if admitted else ranked.index(max(ranked)),
        }

    def waits(self, charges: list[Charge], levels: dict[str, Fraction]) -> list[float]:
        result = []
        for charge in charges:
            gap = self.spacing(charge.limit)
            excess = math.ceil(levels[charge.key] + (charge.amount - charge.limit.burst) * gap)
            result.append(math.inf if charge.amount > charge.limit.burst else max(0, excess))
        return result

    def reserve(self, identity: str, charges: list[Charge], now: int, max_wait: int) -> dict[str, Any]:
        levels = {charge.key: self.level(charge.key, now, charge.limit)[0] for charge in charges}
        wait = max(self.waits(charges, levels))
        if wait > max_wait:
            return self.answer(charges, levels, admitted=False) | {"wait_us": 0}
        for charge in charges:
            levels[charge.key] += charge.amount * self.spacing(charge.limit)
            self.keep(charge.key, now, levels[charge.key], charge.limit)
        answer = self.answer(charges, levels, admitted=True) | {"wait_us": wait}
        self.records[identity] = (now, answer)
        return answer

    def settle(self, identity: str, charges: tuple[Charge, ...], deltas: list[int], now: int) -> bool:
        record = self.records.get(identity)
        for charge, delta in zip(charges, deltas, strict=True):
            level, kept = self.level(charge.key, now)
            if not isinstance(record, tuple):
                continue
            kept = kept or charge.limit
            change = self.capped(abs(delta) * self.spacing(charge.limit))
            if delta < 0 and charge.limit.hard:
                change = change - max(0, now - record[0])
                if math.floor(change) < 0:
                    continue
            change = self.convert(change, charge.limit, kept, up=delta >= 0)
            level = self.capped(level + change) if delta >= 0 else max(Fraction(0), level - change)
            self.keep(charge.key, now, level, kept)
        self.records[identity] = "done"
        return isinstance(record, tuple)


FIELDS = ("admitted", "remaining", "reset_after_us", "retry_after_us", "binding", "wait_us")


class Lives(RuleBasedStateMachine):
    """The rules; ``limiter`` is set by the test."""

    limiter: Limiter

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.now = 10**12
        self.tag = uuid.uuid4().hex
        self.limits = {f"{{{self.tag}}}:q:{i}": LIMITS[i] for i in range(3)}
        self.open: list[Any] = []
        self.count = 0

    def charges(self, amounts: list[int]) -> list[Charge]:
        return [
            Charge(key, limit, amount)
            for (key, limit), amount in zip(self.limits.items(), amounts, strict=True)
            if amount >= 0
        ]

    # -1 leaves a limit out.
    amounts = st.lists(
        st.one_of(st.integers(-1, 9), st.sampled_from([1_000, 2**38, 2**49])), min_size=3, max_size=3
    ).filter(lambda amounts: any(amount >= 0 for amount in amounts))

    @rule(step=st.one_of(st.integers(0, 400_000), st.integers(0, 3 * MINUTE), st.integers(0, 2 * DAY)))
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(jump=st.sampled_from([-DAY, -MINUTE, -1, DAY]))
    def the_clock_jumps(self, jump: int) -> None:
        self.now = max(10**11, self.now + jump)

    @rule(which=st.integers(0, 2), limit=st.sampled_from(LIMITS))
    def a_limit_changes(self, which: int, limit: Limit) -> None:
        self.limits[f"{{{self.tag}}}:q:{which}"] = limit

    @rule(amounts=amounts, max_wait=st.sampled_from([0, 0, 0, 50_000, MINUTE]))
    def reserve(self, amounts: list[int], max_wait: int) -> None:
        charges = self.charges(amounts)
        self.count += 1
        identity = f"r{self.count}"
        decision = self.limiter.reserve(
            charges, reservation_id=identity, max_wait_us=max_wait, now_us=self.now
        )
        expected = self.model.reserve(identity, charges, self.now, max_wait)
        assert {field: getattr(decision, field) for field in FIELDS} == expected
        assert (decision.reservation is not None) == decision.admitted
        if decision.reservation:
            self.open.append(decision.reservation)

    @rule(amounts=amounts)
    def peek(self, amounts: list[int]) -> None:
        charges = self.charges(amounts)
        decision = self.limiter.peek(charges, now_us=self.now)
        levels = self.model.peeked(charges, self.now)
        admitted = max(self.model.waits(charges, levels)) == 0
        assert {field: getattr(decision, field) for field in FIELDS} == self.model.answer(
            charges, levels, admitted=admitted
        ) | {"wait_us": 0}

    @rule(which=st.integers(0, 2), amount=st.one_of(st.integers(1, 9), st.sampled_from([1_000, 2**52])))
    def at_most(self, which: int, amount: int) -> None:
        key, limit = list(self.limits.items())[which]
        self.count += 1
        identity = f"r{self.count}"
        charge = Charge(key, limit, amount)
        decision = self.limiter.at_most(charge, reservation_id=identity, now_us=self.now)
        level, _ = self.model.level(key, self.now, limit)
        fits = self.model.answer([Charge(key, limit, 0)], {key: level}, admitted=True)["remaining"][0]
        granted = min(fits, amount)
        assert (decision.granted or 0) == granted
        if granted:
            self.model.reserve(identity, [Charge(key, limit, granted)], self.now, 0)
            self.open.append(decision.reservation)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        reservation = data.draw(st.sampled_from(self.open))
        record = self.model.records[reservation.id]
        if record == "done":
            return
        _, answer = record
        decision = self.limiter.reserve(
            list(reservation.charges), reservation_id=reservation.id, now_us=self.now
        )
        assert decision.admitted
        assert decision.remaining == answer["remaining"]
        # Loading the limits for a replay may still notice a jump or a changed rate.
        for charge in reservation.charges:
            self.model.level(charge.key, self.now, charge.limit)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        reservation = data.draw(st.sampled_from(self.open))
        deltas = [
            data.draw(st.integers(-charge.amount, min(charge.amount + 3, 2**40)))
            for charge in reservation.charges
        ]
        applied = self.limiter.settle(reservation, deltas, now_us=self.now)
        assert applied == self.model.settle(reservation.id, reservation.charges, deltas, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        reservation = data.draw(st.sampled_from(self.open))
        deltas = [-charge.amount for charge in reservation.charges]
        applied = self.limiter.cancel(reservation.id, reservation.charges, now_us=self.now)
        assert applied == self.model.settle(reservation.id, reservation.charges, deltas, self.now)


def live(limiter: Limiter, examples: int, steps: int) -> None:
    machine = type("Lives", (Lives,), {"limiter": limiter})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate, Phase.shrink],  # explaining takes minutes here
        ),
    )


def test_a_few_thousand_random_steps_agree(limiter: Limiter) -> None:
    live(limiter, examples=60, steps=50)


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_a_hundred_thousand_random_steps_agree(limiter: Limiter) -> None:
    live(limiter, examples=1_250, steps=80)
