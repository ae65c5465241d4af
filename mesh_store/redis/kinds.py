"""How each kind of limit travels to the scripts, and what its numbers mean on the way back.

======== ============================== ==========================================================
kind     a charge's (a, b)              what the script tells
======== ============================== ==========================================================
rate     whole us of debt, remainder    debt, remainder
slots    slots to hold, 0               slots held, us until enough end, us until all have ended
window   micro-USD, pico-USD below it   the same of what is spent and promised, 1 when not seeded
======== ============================== ==========================================================

A *term* is one charge as the scripts see it. ``at_us`` is the moment whose calendar window counts.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh_store.model.gcra import Rate, check_units, debt_of, drained_after, rate_of, units_left, wait_for
from mesh_store.model.limits import MAX_EXACT, MAX_PICO, SEEDING_US, Charge, Limit
from mesh_store.model.windows import Window, window_of
from mesh_store.redis.keys import hash_tag, window_key

#: The most slots one call may hold.
MOST_SLOTS = 1_000

_PICO_PER_MICRO = 1_000_000


#: How one limit stands after a decision: units remaining, microseconds to wait (None: for ever), and
#: microseconds until it is full. A plain tuple, because 256 of them are made a call.
Standing = tuple[int, int | None, int]


class Place(NamedTuple):
    """What a key and its limit mean, worked out once.

    Attributes:
        limit: the limit, as last seen under the key.
        tag: the key's hash tag.
        mark: key and terms as bytes, for checksums.
        rate: the reduced rate of a rate limit.
    """

    limit: Limit
    tag: str
    mark: bytes
    rate: Rate | None


#: Calls come back to the same limits: reducing a rate and finding a tag costs more than the rest.
_places: dict[str, Place] = {}


def place_of(charge: Charge) -> Place:
    """Return what a charge's key and limit mean.

    Raises:
        ValueError: the limit cannot be counted exactly; names the field.
    """
    key, limit = charge.key, charge.limit
    place = _places.get(key)
    if place is None or (place.limit is not limit and place.limit != limit):
        rate = rate_of(limit) if limit.kind == "rate" else None
        terms = rate.text if rate else limit.kind
        place = Place(limit, hash_tag(key), f"{key} {terms}".encode(), rate)
        if len(_places) >= 4096:
            _places.clear()
        _places[key] = place
    return place


class RateTerm:
    """A charge of a rate limit."""

    __slots__ = ("charge", "rate")
    width = 2

    def __init__(self, charge: Charge, place: Place) -> None:
        check_units("charge.amount", charge.amount)
        assert place.rate is not None
        self.charge = charge
        self.rate = place.rate

    def key(self, at_us: int) -> str:
        return self.charge.key

    def argument(self, at_us: int, grace_us: int, marker: int) -> tuple[int | str, ...]:
        rate = self.rate
        shadow = int(not self.charge.enforce)
        return (1, rate.text, rate.units, rate.tau, rate.tau_rem, int(self.charge.limit.hard), shadow)

    def taken(self) -> tuple[int, int]:
        return debt_of(self.rate, self.charge.amount)

    def adjusted(self, delta: int) -> tuple[int, int, int]:
        """A debt is changed by its delta."""
        return (*debt_of(self.rate, abs(delta)), int(delta < 0))

    def standing(self, told: list[int], at_us: int, admitted: bool) -> Standing:
        micros, rem = told
        wait = 0 if admitted else wait_for(self.rate, micros, rem, self.charge.amount)
        return units_left(self.rate, micros, rem), wait, drained_after(micros, rem)


class SlotsTerm:
    """A charge of a concurrency limit."""

    __slots__ = ("charge",)
    width = 3

    def __init__(self, charge: Charge, place: Place) -> None:
        check_units("charge.amount", charge.amount, MOST_SLOTS)
        self.charge = charge

    def key(self, at_us: int) -> str:
        return self.charge.key

    def argument(self, at_us: int, grace_us: int, marker: int) -> tuple[int | str, ...]:
        limit = self.charge.limit
        return (2, limit.amount, limit.period_us, 0, 0, 0, int(not self.charge.enforce))

    def taken(self) -> tuple[int, int]:
        return self.charge.amount, 0

    def adjusted(self, delta: int) -> tuple[int, int, int]:
        """All slots are released, whatever was used of them."""
        return (self.charge.amount, 0, 1)

    def standing(self, told: list[int], at_us: int, admitted: bool) -> Standing:
        held, until, last = told
        most = self.charge.limit.amount
        return max(0, most - held), None if self.charge.amount > most else until, last


class WindowTerm:
    """A charge of a calendar budget."""

    __slots__ = ("charge",)
    width = 3

    def __init__(self, charge: Charge, place: Place) -> None:
        check_units("charge.amount", charge.amount, MAX_PICO)
        self.charge = charge

    def window(self, at_us: int) -> Window:
        return window_of(self.charge.limit, at_us)

    def key(self, at_us: int) -> str:
        return window_key(self.charge.key, self.window(at_us).start_us)

    def argument(self, at_us: int, grace_us: int, marker: int) -> tuple[int | str, ...]:
        window = self.window(at_us)
        budget = divmod(self.charge.limit.amount, _PICO_PER_MICRO)
        shadow = int(not self.charge.enforce)
        return (3, *budget, window.start_us, window.end_us + grace_us, marker, shadow)

    def taken(self) -> tuple[int, int]:
        return divmod(self.charge.amount, _PICO_PER_MICRO)

    def adjusted(self, delta: int) -> tuple[int, int, int]:
        """The actual replaces the estimate."""
        return (*divmod(self.charge.amount + delta, _PICO_PER_MICRO), 0)

    def standing(self, told: list[int], at_us: int, admitted: bool) -> Standing:
        micro, pico, unseeded = told
        if unseeded:
            return 0, SEEDING_US, SEEDING_US
        used, budget = micro * _PICO_PER_MICRO + pico, self.charge.limit.amount
        left_us = self.window(at_us).end_us - at_us
        wait: int | None = left_us
        if admitted or used + self.charge.amount <= budget:
            wait = 0
        elif self.charge.amount > budget:
            wait = None
        return max(0, budget - used), wait, left_us if used else 0


Term = RateTerm | SlotsTerm | WindowTerm

_TERMS: dict[str, type[Term]] = {
    "rate": RateTerm,
    "slots": SlotsTerm,
    "window": WindowTerm,
}


def term_of(charge: Charge, place: Place | None = None) -> Term:
    """Return a charge as the scripts see it.

    Raises:
        ValueError: the amount or the limit cannot be counted exactly; names the field.
    """
    return _TERMS[charge.limit.kind](charge, place or place_of(charge))


def most_delta(charge: Charge) -> int:
    """Return the largest amount a settlement may add to a charge."""
    return MAX_PICO - charge.amount if charge.limit.kind == "window" else MAX_EXACT
