"""How each kind of limit travels to the scripts, and what its numbers mean on the way back.

======== ============================== ==========================================================
kind     a charge's (a, b)              what the script tells
======== ============================== ==========================================================
rate     whole us of debt, remainder    debt, remainder
slots    slots to hold, 0               slots held, us until enough end, us until all have ended
window   micro-USD, pico-USD below it   the same of what is spent and promised, 1 when not seeded
distinct the member's number, 0         members known, 1 when this one is, us until one is forgotten
======== ============================== ==========================================================

A *term* is what a limit under a key takes charges as; it holds no amount, so that calls that come back
to the same limits share it. ``at_us`` is the moment whose calendar window counts.
"""

from __future__ import annotations

from mesh_store.model.gcra import debt_of, drained_after, rate_of, units_left, wait_for
from mesh_store.model.limits import MAX_EXACT, MAX_PICO, SEEDING_US, Charge, Limit
from mesh_store.model.windows import Window, window_of
from mesh_store.redis.keys import window_key

#: The most slots one call may hold.
MOST_SLOTS = 1_000

#: The largest number that stands for a member.
MOST_MEMBER = 2**52 - 1

_PICO_PER_MICRO = 1_000_000


#: How one limit stands after a decision: units remaining, microseconds to wait (None: for ever), and
#: microseconds until it is full. A plain tuple, because 256 of them are made a call.
Standing = tuple[int, int | None, int]


class RateTerm:
    """A rate limit."""

    __slots__ = ("enforce", "key", "limit", "mark", "rate")
    width, most = 2, MAX_EXACT

    def __init__(self, key: str, limit: Limit, enforce: bool) -> None:
        self.key, self.limit, self.enforce = key, limit, enforce
        self.rate = rate_of(limit)
        self.mark = f"{key} {self.rate.text}".encode()

    def state(self, at_us: int) -> str:
        return self.key

    def argument(self, at_us: int, grace_us: int) -> tuple[int | str, ...]:
        rate = self.rate
        return (1, rate.text, rate.units, rate.tau, rate.tau_rem, int(self.limit.hard), int(not self.enforce))

    def taken(self, amount: int) -> tuple[int, int]:
        return debt_of(self.rate, amount)

    def adjusted(self, amount: int, delta: int) -> tuple[int, int, int]:
        """A debt is changed by its delta."""
        return (*debt_of(self.rate, abs(delta)), int(delta < 0))

    def standing(self, amount: int, told: list[int], at_us: int, admitted: bool) -> Standing:
        micros, rem = told
        wait = 0 if admitted else wait_for(self.rate, micros, rem, amount)
        return units_left(self.rate, micros, rem), wait, drained_after(micros, rem)


class SlotsTerm:
    """A concurrency limit."""

    __slots__ = ("enforce", "key", "limit", "mark")
    width, most = 3, MOST_SLOTS

    def __init__(self, key: str, limit: Limit, enforce: bool) -> None:
        self.key, self.limit, self.enforce = key, limit, enforce
        self.mark = f"{key} slots".encode()

    def state(self, at_us: int) -> str:
        return self.key

    def argument(self, at_us: int, grace_us: int) -> tuple[int | str, ...]:
        return (2, self.limit.amount, self.limit.period_us, 0, 0, 0, int(not self.enforce))

    def taken(self, amount: int) -> tuple[int, int]:
        return amount, 0

    def adjusted(self, amount: int, delta: int) -> tuple[int, int, int]:
        """All slots are released, whatever was used of them."""
        return (amount, 0, 1)

    def standing(self, amount: int, told: list[int], at_us: int, admitted: bool) -> Standing:
        held, until, last = told
        most = self.limit.amount
        return max(0, most - held), None if amount > most else until, last


class WindowTerm:
    """A calendar budget."""

    __slots__ = ("enforce", "key", "limit", "mark")
    width, most = 3, MAX_PICO

    def __init__(self, key: str, limit: Limit, enforce: bool) -> None:
        self.key, self.limit, self.enforce = key, limit, enforce
        self.mark = f"{key} window".encode()

    def window(self, at_us: int) -> Window:
        return window_of(self.limit, at_us)

    def state(self, at_us: int) -> str:
        return window_key(self.key, self.window(at_us).start_us)

    def argument(self, at_us: int, grace_us: int) -> tuple[int | str, ...]:
        window = self.window(at_us)
        budget = divmod(self.limit.amount, _PICO_PER_MICRO)
        return (3, *budget, window.start_us, window.end_us + grace_us, 0, int(not self.enforce))

    def taken(self, amount: int) -> tuple[int, int]:
        return divmod(amount, _PICO_PER_MICRO)

    def adjusted(self, amount: int, delta: int) -> tuple[int, int, int]:
        """The actual replaces the estimate."""
        return (*divmod(amount + delta, _PICO_PER_MICRO), 0)

    def standing(self, amount: int, told: list[int], at_us: int, admitted: bool) -> Standing:
        micro, pico, unseeded = told
        if unseeded:
            return 0, SEEDING_US, SEEDING_US
        used, budget = micro * _PICO_PER_MICRO + pico, self.limit.amount
        left_us = self.window(at_us).end_us - at_us
        wait: int | None = left_us
        if admitted or used + amount <= budget:
            wait = 0
        elif amount > budget:
            wait = None
        return max(0, budget - used), wait, left_us if used else 0


class DistinctTerm:
    """How many different members may be seen in a period; a charge's amount names one of them."""

    __slots__ = ("enforce", "key", "limit", "mark")
    width, most = 3, MOST_MEMBER

    def __init__(self, key: str, limit: Limit, enforce: bool) -> None:
        self.key, self.limit, self.enforce = key, limit, enforce
        self.mark = f"{key} distinct".encode()

    def state(self, at_us: int) -> str:
        return self.key

    def argument(self, at_us: int, grace_us: int) -> tuple[int | str, ...]:
        return (4, self.limit.amount, self.limit.period_us, 0, 0, 0, int(not self.enforce))

    def taken(self, amount: int) -> tuple[int, int]:
        return amount, 0

    def adjusted(self, amount: int, delta: int) -> tuple[int, int, int]:
        """A member that is given back whole goes, if no other call saw it; else it was seen."""
        return (amount, 0, int(0 < amount == -delta))

    def standing(self, amount: int, told: list[int], at_us: int, admitted: bool) -> Standing:
        members, known, until = told
        left = max(0, self.limit.amount - members)
        return left, 0 if admitted or known or left else until, until


Term = RateTerm | SlotsTerm | WindowTerm | DistinctTerm

_TERMS: dict[str, type[Term]] = {
    "rate": RateTerm,
    "slots": SlotsTerm,
    "window": WindowTerm,
    "distinct": DistinctTerm,
}


def term_of(charge: Charge) -> Term:
    """Return what a charge's limit takes charges as.

    Raises:
        ValueError: the limit cannot be counted exactly; names the field.
    """
    return _TERMS[charge.limit.kind](charge.key, charge.limit, charge.enforce)


def most_delta(charge: Charge) -> int:
    """Return the largest amount a settlement may add to a charge."""
    return MAX_PICO - charge.amount if charge.limit.kind == "window" else MAX_EXACT
