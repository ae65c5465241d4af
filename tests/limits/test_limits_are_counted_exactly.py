"""Rates are reduced fractions; what cannot be counted exactly is refused by the field's name."""

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model import Charge, Limit
from mesh_store.model.gcra import (
    DEBT_CAP,
    TAU_CAP,
    Debt,
    add,
    debt_of,
    drain,
    drained_after,
    give,
    rate_of,
    take,
    units_left,
    wait_for,
)
from mesh_store.model.limits import MAX_EXACT, MAX_PICO
from mesh_store.redis.kinds import term_of

DAY = 86_400_000_000

amounts = st.one_of(st.integers(1, 10_000), st.integers(1, 2**40))
periods = st.one_of(st.sampled_from([1_000, 10_000, 60_000_000, DAY, 365 * DAY]), st.integers(1, 365 * DAY))


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    amount, period = draw(amounts), draw(periods)
    most = min(MAX_EXACT, max(1, TAU_CAP * amount // period))
    return Limit(amount=amount, period_us=period, burst=draw(st.integers(1, most)))


def exact(debt: Debt) -> Fraction:
    return debt.micros + Fraction(debt.rem, debt.rate.units)


@given(limits(), st.integers(0, 2**40))
def test_units_become_debt_without_rounding(limit: Limit, units: int) -> None:
    rate = rate_of(limit)
    micros, rem = debt_of(rate, units)
    truth = Fraction(units * limit.period_us, limit.amount)
    assert micros + Fraction(rem, rate.units) == truth if truth < DEBT_CAP else micros == DEBT_CAP


@given(limits(), st.fractions(0, 2**50), st.integers(0, 2**40))
def test_what_is_left_and_when_it_fits_are_exact(limit: Limit, owed: Fraction, units: int) -> None:
    rate = rate_of(limit)
    micros, rem = divmod(math.floor(owed * rate.units), rate.units)
    truth = micros + Fraction(rem, rate.units)
    spacing = Fraction(limit.period_us, limit.amount)
    assert units_left(rate, micros, rem) == max(0, math.floor(limit.burst - truth / spacing))
    assert drained_after(micros, rem) == math.ceil(truth)
    wait = wait_for(rate, micros, rem, units)
    if units > limit.burst:
        assert wait is None
    else:
        assert wait == max(0, math.ceil(truth + (units - limit.burst) * spacing))


@given(
    limits(),
    st.lists(st.tuples(st.sampled_from(["take", "add", "give", "wait"]), st.integers(0, 10**6)), max_size=30),
)
def test_no_stretch_of_time_admits_more_than_burst_and_rate(
    limit: Limit, life: list[tuple[str, int]]
) -> None:
    rate = rate_of(limit)
    now, debt = 1, drain(None, rate, 1)
    truth = Fraction(0)
    spacing = Fraction(limit.period_us, limit.amount)
    for deed, number in life:
        if deed == "wait":
            now += number
            debt, truth = drain(debt, rate, now), max(Fraction(0), truth - number)
        elif deed == "take":
            taken, wait = take(debt, number)
            if wait == 0:
                truth += number * spacing
                assert truth <= limit.burst * spacing
            else:
                assert taken == debt
            debt = taken
        elif deed == "add":
            debt, truth = add(debt, number), min(Fraction(DEBT_CAP), truth + number * spacing)
        else:
            debt, truth = give(debt, number), max(Fraction(0), truth - min(number * spacing, DEBT_CAP))
        assert exact(debt) == truth


def test_a_third_of_ten_milliseconds_is_a_third() -> None:
    rate = rate_of(Limit(amount=3, period_us=10_000, burst=1))
    assert (rate.micros, rate.units, rate.tau, rate.tau_rem) == (10_000, 3, 3_333, 1)
    assert debt_of(rate, 3) == (10_000, 0)


def test_a_raised_limit_keeps_what_was_used_in_units() -> None:
    slow = rate_of(Limit(amount=7, period_us=1_000_000))
    fast = rate_of(Limit(amount=700, period_us=1_000_000))
    drained, _ = take(drain(None, slow, 1), 7)
    raised, _ = take(drain(drained, fast, 1), 1)
    assert units_left(fast, raised.micros, raised.rem) == 692
    lowered = drain(raised, slow, 1)
    assert wait_for(slow, lowered.micros, lowered.rem, 1) == math.ceil(Fraction(2_000_000, 7))


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (Limit(amount=1, period_us=DAY, burst=2**40), "limit.burst"),
        (Limit(amount=0, period_us=DAY, burst=5), "limit.amount"),
        (Limit(amount=MAX_EXACT, period_us=1, burst=1), "limit.amount"),
        (Limit(amount=10, period_us=DAY, burst=10, hard=True), "limit.burst"),
        (Limit(amount=10, period_us=DAY, burst=11, hard=True), "limit.burst"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_its_field(limit: Limit, field: str) -> None:
    with pytest.raises(ValueError, match=field.replace(".", r"\.")):
        rate_of(limit)


@pytest.mark.parametrize("value", [True, 1.0, "5", None, -1, MAX_EXACT + 1])
@pytest.mark.parametrize("field", ["amount", "period_us", "burst"])
def test_a_limit_takes_only_whole_numbers(field: str, value: Any) -> None:
    terms = {"amount": 5, "period_us": 5, "burst": 5} | {field: value}
    with pytest.raises(ValueError, match=rf"limit\.{field}"):
        Limit(**terms)


def test_budgets_may_pass_what_doubles_hold() -> None:
    limit = Limit(amount=MAX_PICO, period_us=DAY, kind="window")
    assert term_of(Charge("{t}:q", limit, 1)).taken(MAX_PICO) == divmod(MAX_PICO, 10**6)
    with pytest.raises(ValueError, match=r"limit\.amount"):
        Limit(amount=MAX_PICO + 1, period_us=DAY, kind="window")


def test_a_hard_limit_sustains_what_its_burst_leaves() -> None:
    rate = rate_of(Limit(amount=100, period_us=DAY, hard=True))
    assert rate.burst == 10
    assert Fraction(rate.micros, rate.units) == Fraction(DAY, 90)
    assert rate_of(Limit(amount=1, period_us=DAY, hard=True)).tau == DAY


def test_a_limit_of_nothing_refuses_everything() -> None:
    rate = rate_of(Limit(amount=0, period_us=DAY))
    assert wait_for(rate, 0, 0, 1) is None
    assert wait_for(rate, 0, 0, 0) == 0


def test_limits_and_charges_survive_the_wire() -> None:
    import msgspec

    charge = Charge("{t}:q:a", Limit(amount=5, period_us=DAY, kind="window", tz="Europe/Berlin"), 3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(charge), type=Charge) == charge
