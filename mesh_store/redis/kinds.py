"""How each kind of limit travels to the scripts and what its numbers mean on the way back.

======== ============================== ==========================================================
kind     a charge's (a, b)              what the script tells
======== ============================== ==========================================================
rate     whole us of debt, remainder    debt, remainder
slots    slots to hold, 0               slots held, us until enough end, us until all have ended
window   micro-USD, pico-USD below it   the same of what is spent and promised, 1 when not seeded
======== ============================== ==========================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesh_store.model.gcra import check_units, debt_of, drained_after, rate_of, units_left, wait_for
from mesh_store.model.limits import MAX_EXACT, MAX_PICO, Charge, Limit
from mesh_store.model.windows import Window

#: The most slots one call may hold.
MOST_SLOTS = 1_000

#: How soon to ask again while a budget's window waits for a collector, microseconds.
SEEDING_US = 1_000_000

_PICO_PER_MICRO = 1_000_000
_MOST = {"rate": MAX_EXACT, "slots": MOST_SLOTS, "window": MAX_PICO}
_NUMBERS = {"rate": 2, "slots": 3, "window": 3}


class Standing(NamedTuple):
    """How one limit stands after a decision; times in microseconds."""

    remaining: int
    wait_us: int | None
    reset_after_us: int


def check(charge: Charge) -> str:
    """Refuse what cannot be counted exactly; return what tells this limit's terms from others.

    Raises:
        ValueError: names the field.
    """
    check_units("charge.amount", charge.amount, _MOST[charge.limit.kind])
    return rate_of(charge.limit).text if charge.limit.kind == "rate" else charge.limit.kind


def pair(limit: Limit, units: int) -> tuple[int, int]:
    """Turn units into the two numbers that travel."""
    if limit.kind == "rate":
        return debt_of(rate_of(limit), units)
    return (units, 0) if limit.kind == "slots" else divmod(units, _PICO_PER_MICRO)


def argument(limit: Limit, key_index: int, marker_index: int, window: Window | None) -> tuple[int | str, ...]:
    """Turn a limit into the script's argument."""
    if limit.kind == "rate":
        rate = rate_of(limit)
        return (1, key_index, rate.text, rate.units, rate.tau, rate.tau_rem, int(limit.hard))
    if limit.kind == "slots":
        return (2, key_index, limit.amount, limit.period_us)
    assert window is not None
    return (3, key_index, *divmod(limit.amount, _PICO_PER_MICRO), *window, marker_index)


def standings(
    charges: Sequence[Charge], told: Sequence[int], now_us: int, ends: Sequence[int]
) -> list[Standing]:
    """Read what the scripts told about charges.

    Args:
        charges: the charges asked for.
        told: the numbers of all of them, in their order.
        now_us: the time of the decision.
        ends: the end of each charge's window, 0 for other kinds.
    """
    result = []
    at = 0
    for charge, end_us in zip(charges, ends, strict=True):
        limit = charge.limit
        if limit.kind == "rate":
            rate, micros, rem = rate_of(limit), told[at], told[at + 1]
            wait = wait_for(rate, micros, rem, charge.amount)
            result.append(Standing(units_left(rate, micros, rem), wait, drained_after(micros, rem)))
        elif limit.kind == "slots":
            held, until, last = told[at : at + 3]
            never = charge.amount > limit.amount
            result.append(Standing(max(0, limit.amount - held), None if never else until, last))
        else:
            result.append(_budget(charge, told[at : at + 3], end_us - now_us))
        at += _NUMBERS[limit.kind]
    return result


def _budget(charge: Charge, told: Sequence[int], left_us: int) -> Standing:
    micro, pico, unseeded = told
    if unseeded:
        return Standing(0, SEEDING_US, SEEDING_US)
    used = micro * _PICO_PER_MICRO + pico
    budget = charge.limit.amount
    wait: int | None = left_us
    if used + charge.amount <= budget:
        wait = 0
    elif charge.amount > budget:
        wait = None
    return Standing(max(0, budget - used), wait, left_us if used else 0)
