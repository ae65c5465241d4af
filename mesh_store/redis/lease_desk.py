"""One tuple of limits and the slices held for it: plain bookkeeping, no clock, no lock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import NamedTuple

from mesh_store.model.facts import MOST_LEASED, LeaseEnded, SlotsMoved
from mesh_store.model.gcra import rate_of
from mesh_store.model.limits import MAX_EXACT, MAX_PICO, Charge, Limit
from mesh_store.redis.kinds import MOST_SLOTS
from mesh_store.redis.leasing import Grant

#: How long a slice may be spent at the most, and how short a time is not worth it, microseconds.
LONGEST_TTL_US, SHORTEST_TTL_US = 1_000_000, 50_000
#: A rate limit is leased for at most one part in so many of the time its burst takes to drain, slots of
#: their lease: what waits unspent is a small part of what there is.
TTL_SHARE = 8
#: So many calls within this time make a tuple hot.
HOT_CALLS, HOT_US = 8, 500_000
#: A slice is for at most, and at least, so many calls.
MOST_CALLS, LEAST_CALLS = 4_096, 2
#: Calls per ttl that a slice is larger than expected, in percent.
HEADROOM = 125
#: After a refused slice nothing is asked for so long, doubled from the first to the second.
PAUSE_US = (100_000, 5_000_000)
#: A desk nobody came to is forgotten after this.
FORGET_US = 30_000_000

_MOST = {"rate": MAX_EXACT, "slots": MOST_SLOTS, "window": MAX_PICO}


class Lease:
    """A slice in memory.

    Attributes:
        slice: the slice as it was granted.
        keys, limits: its limits, and under which keys they are counted.
        left: units per charge that may still be drawn; negative when calls took more than they reserved.
        refunded: units per charge that ended calls had reserved beyond what they took.
        slots: how many slots it holds, per charge; lent ones count from here on.
        drawn: how many calls drew.
        plain: True where all are soft rates: what calls did not take simply comes back.
        low: at how many it is time for another slice.
        asked_us, until_us: when it was asked for, and until when it may be spent.
        remaining, reset_after_us: what Redis said when it granted it.
    """

    __slots__ = (
        "_rates",
        "asked_us",
        "at_us",
        "drawn",
        "keys",
        "left",
        "limits",
        "low",
        "plain",
        "refunded",
        "remaining",
        "reset_after_us",
        "slice",
        "slots",
        "until_ns",
        "until_us",
    )  # fmt: skip

    def __init__(self, grant: Grant, calls: int, asked_us: int) -> None:
        self.slice = grant.reservation
        charges = self.slice.charges
        self.keys = [charge.key for charge in charges]
        self.limits: list[Limit] = [charge.limit for charge in charges]
        self.left = [charge.amount for charge in charges]
        self.slots = [charge.amount if charge.limit.kind == "slots" else 0 for charge in charges]
        self.refunded = [0] * len(charges)
        self.drawn, self.low = 0, max(1, calls * 3 // 4)
        # Counted from before the question: the server charged it later.
        self.asked_us, self.until_us = asked_us, asked_us + grant.usable_us
        self.until_ns, self.at_us = self.until_us * 1_000, self.slice.reserved_at_us
        self.remaining, self.reset_after_us = grant.remaining, grant.reset_after_us
        self.plain = all(limit.kind == "rate" and not limit.hard for limit in self.limits)
        self._rates = [rate_of(limit) if limit.kind == "rate" else None for limit in self.limits]

    def cover(self, charges: Sequence[Charge]) -> bool:
        """Draw all of a call's charges, or none; False also where they are not on these very limits."""
        if len(charges) != len(self.keys):
            return False
        left = []
        # One pass, and attributes by name: half of what whole lists at a time take.
        for charge, key, limit, held in zip(charges, self.keys, self.limits, self.left):  # noqa: B905
            rest = held - charge.amount
            if rest < 0 or charge.key != key or (charge.limit is not limit and charge.limit != limit):
                return False
            left.append(rest)
        self.left = left
        self.drawn += 1
        return True

    def holds(self, now_us: int, charges: Sequence[Charge]) -> bool:
        """Tell whether calls with these limits may still draw from it."""
        return now_us < self.until_us and [charge.limit for charge in charges] == self.limits

    @property
    def spent(self) -> bool:
        """Tell whether something of it is used up."""
        held = self.slice.charges
        return any(left <= 0 < charge.amount for left, charge in zip(self.left, held, strict=True))

    def lent(self, place: int, call_id: str, charge: Charge) -> SlotsMoved | None:
        """Return the record by which slots of a call become its own; None when it holds too many."""
        first = self.slots[place] + 1
        if charge.amount == 0 or first + charge.amount > MOST_LEASED:
            return None
        return SlotsMoved(call_id, self.slice.id, charge, first)

    def hold(self, place: int, slots: int) -> None:
        """Have more slots to spend."""
        self.slots[place] += slots
        self.left[place] += slots

    def taken(self) -> list[int]:
        """Return what calls drew of each charge, as they estimated it."""
        return [
            self.drawn if charge.limit.kind == "slots" else charge.amount - left + back
            for charge, left, back in zip(self.slice.charges, self.left, self.refunded, strict=True)
        ]

    def true_up(self, place: int, charge: Charge, actual: int, elapsed_us: int) -> None:
        """Note what a call really took of one of its charges."""
        kind = charge.limit.kind
        back = charge.amount if kind == "slots" else charge.amount - actual
        rate = self._rates[place]
        if back > 0 and rate is not None and charge.limit.hard:
            # What has drained since it was charged was there for others already.
            back = max(0, back - -(-elapsed_us * rate.units // rate.micros))
        if back > 0 and kind != "slots":
            self.refunded[place] += back
        self.left[place] += back

    def true_up_all(self, charges: Sequence[Charge], actual: Sequence[int]) -> None:
        """Note what a call really took; like `true_up` for each of its charges, of a `plain` lease."""
        back = [charge.amount - taken for charge, taken in zip(charges, actual, strict=True)]
        self.left = list(map(add, self.left, back))
        if max(back) > 0:
            self.refunded = [
                had + more if more > 0 else had for had, more in zip(self.refunded, back, strict=True)
            ]

    def ended(self, running: Sequence[tuple[str, int, Sequence[Charge]]]) -> LeaseEnded:
        """Return the record of its end.

        Args:
            running: the calls that drew from it and still run: reservation id, how long its record is to
                be kept, and what it drew.
        """
        left = tuple(
            held if charge.limit.kind == "slots" else rest
            for charge, rest, held in zip(self.slice.charges, self.left, self.slots, strict=True)
        )
        calls = tuple(
            [
                (call, ttl_us, tuple([charge.amount for charge in charges]))
                for call, ttl_us, charges in running
            ]
        )
        return LeaseEnded(self.slice, left, tuple(self.refunded), calls)


class Wish(NamedTuple):
    """What a desk asks for: numbers of calls, largest first, and what each takes of every limit."""

    charges: tuple[Charge, ...]
    calls: list[int]
    slices: list[tuple[int, ...]]


class Desk:
    """What is known of one tuple of limits.

    Attributes:
        leases: the slices held, oldest first.
        wants: True when it is time to ask for a slice.
        closed: True once the configuration it belongs to is gone.
        ttl_us: how long its slices may be spent; 0 when nothing of it is leased.
    """

    __slots__ = (
        "_calls", "_charges", "_pause_us", "_paused_until", "_seen_us", "_since_us", "_sums",
        "closed", "leases", "ttl_us", "wants",
    )  # fmt: skip

    def __init__(self, charges: Sequence[Charge], now_us: int) -> None:
        self.leases: list[Lease] = []
        self.wants = self.closed = False
        self.ttl_us = ttl_of(charges)
        self._charges = tuple(charges)
        self._pause_us, self._paused_until = PAUSE_US[0], 0
        self._start(now_us)

    def _start(self, now_us: int) -> None:
        self._calls, self._since_us, self._seen_us = 0, now_us, now_us
        self._sums = [0] * len(self._charges)

    def missed(self, charges: Sequence[Charge], now_us: int) -> bool:
        """Note a call that found nothing to draw; True when now a slice is wanted."""
        self._seen_us = now_us
        if not self.ttl_us or now_us < self._paused_until:
            return False
        if now_us - self._since_us > HOT_US:
            self._start(now_us)
        self._calls += 1
        self._charges = tuple(charges)
        for place, charge in enumerate(charges):
            self._sums[place] += charge.amount
        if self.wants or self._calls < (1 if self.leases else HOT_CALLS):
            return False
        self.wants = True
        return True

    def due(self, now_us: int) -> bool:
        """Tell whether to ask for a slice: calls went without, or the newest is nearly spent or over."""
        if self.closed or now_us < self._paused_until:
            return False
        if not self.leases:
            return self.wants
        newest = self.leases[-1]
        ending = now_us >= newest.until_us - self.ttl_us // 4
        return newest.drawn > 0 and (self.wants or ending or newest.drawn >= newest.low)

    def wish(self, now_us: int) -> Wish | None:
        """Return what the next ttl will take, going by the last one; None when that is next to nothing."""
        calls, since, sums = self._calls, self._since_us, list(self._sums)
        if self.leases:
            newest = self.leases[-1]
            calls, since = calls + newest.drawn, newest.asked_us
            sums = [one + other for one, other in zip(sums, newest.taken(), strict=True)]
        if calls < 1:
            return None
        span = max(now_us - since, self.ttl_us // 16, 1)
        expected = min(MOST_CALLS, calls * self.ttl_us * HEADROOM // (span * 100))
        sizes = [expected >> shift for shift in range(8) if expected >> shift >= LEAST_CALLS]
        most = [_MOST[charge.limit.kind] for charge in self._charges]
        slices = [
            tuple([min(-(-size * taken // calls), cap) for taken, cap in zip(sums, most, strict=True)])
            for size in sizes
        ]
        return Wish(self._charges, sizes, slices) if sizes else None

    def asked(self, now_us: int) -> None:
        """Note that a slice was asked for: what goes without from here on wants the next one."""
        self.wants = False
        self._start(now_us)

    def granted(self, lease: Lease) -> None:
        """Hold a slice."""
        self.leases.append(lease)
        self._pause_us = PAUSE_US[0]

    def refused(self, now_us: int) -> None:
        """Note that there is no room to spare: for a while every call is decided by Redis."""
        self.wants = False
        self._paused_until = now_us + self._pause_us
        self._pause_us = min(self._pause_us * 2, PAUSE_US[1])

    def idle(self, now_us: int, after_us: int = FORGET_US) -> bool:
        """Tell whether nobody came for long."""
        return not self.leases and now_us - self._seen_us >= after_us


def ttl_of(charges: Sequence[Charge]) -> int:
    """Return how long slices of these limits may be spent, microseconds; 0 when they are not leased.

    A tuple with a limit in shadow mode is not. Such a limit admits all the same when it is used up, takes
    nothing then, and the decision says so (`shadow_denied`). A slice has no such calls: it is taken of all
    limits or none, so a shadow limit without room would deny slices of those that are enforced; and were it
    left out, the calls drawn meanwhile would neither be charged to it nor be told what it would have refused.
    Nor is one that tells callers apart: who is meant is different with every call.
    """
    ttl = LONGEST_TTL_US
    for charge in charges:
        limit = charge.limit
        if not charge.enforce or not limit.lease or limit.kind not in _MOST:
            return 0
        if limit.kind == "rate":
            ttl = min(ttl, rate_of(limit).tau // TTL_SHARE)
        elif limit.kind == "slots":
            ttl = min(ttl, limit.period_us // TTL_SHARE)
    return ttl if ttl >= SHORTEST_TTL_US else 0
