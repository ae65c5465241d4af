"""The leases of this process: what calls draw from instead of asking Redis, in about a microsecond.

A *desk* is one tuple of limits with the leases held for it. A call draws all its charges from one
lease or none; with nothing there it asks Redis as ever, and the desk learns how much is wanted. A call
that ends while its lease is held is trued up right here; once the lease has ended, through its own
reservation (`mesh_store.redis.leasing`). Which of the two is decided under one lock, and the records of
both go into the ring under the same lock: so their order there is the order in which they happened.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from mesh_store.model.facts import Cancel, Settlement
from mesh_store.model.limits import Charge, Reservation
from mesh_store.redis.lease_desk import Desk, Lease
from mesh_store.redis.lease_desks import Desks
from mesh_store.redis.lease_drawn import Drawn
from mesh_store.redis.lease_ledger import Ledger, boottime_ns, boottime_us
from mesh_store.redis.leasing import Grant
from mesh_store.redis.reserving import RECORD_LIFETIME_US

#: How many calls admitted without Redis are remembered; beyond them no slot is lent any more.
MOST_UNBACKED = 65_536


class LeaseBook:
    """Holds the leases of one process and lets calls draw from them; serves threads and event loops.

    Args:
        clock_us: microseconds; a lease is not spent beyond its ttl by this clock.

    Attributes:
        wanted: rung when a desk wants a lease.
        ledger: where ends of leases are written; nothing is leased while it is None.
    """

    def __init__(self, *, clock_us: Callable[[], int] = boottime_us) -> None:
        self._clock_us = clock_us
        self._clock_ns = boottime_ns if clock_us is boottime_us else lambda: clock_us() * 1_000
        self.ledger: Ledger | None = None
        self.wanted: Callable[[], None] = lambda: None
        self._begin()
        _books.add(self)

    def _begin(self) -> None:
        # Reentrant: the garbage collector may end a stream in the middle of a draw.
        self._lock = threading.RLock()
        self._busy = False
        self._later: deque[Callable[[], None]] = deque()
        self._desks = Desks()
        self._unbacked: set[str] = set()
        self._lends = True
        self._running: dict[str, tuple[Lease, Sequence[Charge], int]] = {}

    def draw(
        self, charges: Sequence[Charge], reservation_id: str, ttl_us: int = RECORD_LIFETIME_US
    ) -> Drawn | None:
        """Take all charges from a lease; None when Redis has to be asked.

        Args:
            charges: what to take.
            reservation_id: under which the call is settled.
            ttl_us: how long its reservation waits for that.
        """
        if not charges:
            return None
        near = self._desks.near.get((charges[0].key, charges[-1].key))
        drawn = None if near is None else self._drawn(near, charges, reservation_id, ttl_us)
        if drawn is not None:
            return drawn
        desk = self._desks.of(charges)
        if desk is None:
            self._open(charges)
            return None
        if desk is not near and (drawn := self._drawn(desk, charges, reservation_id, ttl_us)) is not None:
            return drawn
        with self._lock:
            if not self._busy and desk.missed(charges, self._clock_us()):
                self.wanted()
        return None

    def _drawn(self, desk: Desk, charges: Sequence[Charge], reservation_id: str, ttl_us: int) -> Drawn | None:
        """Draw from one of a desk's leases; None when none of them covers these very charges."""
        now_ns = self._clock_ns()
        with self._lock:
            if self._busy:
                return None
            self._busy = True
            try:
                for lease in desk.leases:
                    if now_ns < lease.until_ns and lease.cover(charges):
                        if lease.drawn == lease.low:
                            self.wanted()
                        self._running[reservation_id] = lease, charges, ttl_us
                        made = Reservation(reservation_id, tuple(charges), lease.at_us, lease.at_us + ttl_us)
                        return Drawn(made, lease)
                return None
            finally:
                self._busy = False
                if self._later:
                    self._catch_up()

    def settle(self, settlement: Settlement, write: Callable[[Settlement | None], None]) -> None:
        """True a call up within its lease, if that is still held, and write down what is left to settle.

        Args:
            settlement: what the call really took.
            write: puts what Redis still has to be told into the ring, in the order of events.
        """
        if not self._desks:
            write(settlement)
            return
        with self._lock:
            if self._busy:
                self._later.append(lambda: self.settle(settlement, write))
                return
            self._busy = True
            try:
                held = self._running.pop(settlement.reservation.id, None)
                if held is None:
                    self._lend(settlement)
                    write(settlement)
                else:
                    write(self._settled(held[0], settlement))
            finally:
                self._busy = False
                if self._later:
                    self._catch_up()

    def cancel(self, cancel: Cancel) -> bool:
        """Give back what nobody will use; False when it was not drawn here."""
        with self._lock:
            held = self._running.pop(cancel.reservation_id, None)
            if held is None:
                return False
            lease, charges, _ = held
            drawn = Reservation(cancel.reservation_id, tuple(charges), 0, 0)
            self._settled(lease, Settlement(drawn, (0,) * len(charges)))
        return True

    def _settled(self, lease: Lease, settlement: Settlement) -> Settlement | None:
        """True a call up within its lease; return what its budgets still have to be told."""
        reservation = settlement.reservation
        if lease.plain:
            lease.true_up_all(reservation.charges, settlement.actual)
            return None
        elapsed = self._clock_us() - lease.asked_us
        money: list[tuple[Charge, int]] = []
        for place, (charge, actual) in enumerate(zip(reservation.charges, settlement.actual, strict=True)):
            lease.true_up(place, charge, actual, elapsed)
            if charge.limit.kind == "window":
                money.append((charge, actual))
        if not money:
            return None
        kept = replace(reservation, charges=tuple([charge for charge, _ in money]))
        return Settlement(kept, tuple([actual for _, actual in money]))

    def unbacked(self, reservation_id: str) -> None:
        """Note a call that was admitted without Redis: it holds no slot there that another might have."""
        if len(self._unbacked) < MOST_UNBACKED:
            self._unbacked.add(reservation_id)
        else:
            self._lends = False

    def _lend(self, settlement: Settlement) -> None:
        """Let the next call have the slots of one that ended outside of any lease, if there is a lease."""
        reservation = settlement.reservation
        charges = reservation.charges
        slots = [place for place, charge in enumerate(charges) if charge.limit.kind == "slots"]
        if not slots or self.ledger is None or not self._lends:
            return
        if reservation.id in self._unbacked:
            self._unbacked.discard(reservation.id)
            return
        desk, now = self._desks.get(tuple([charge.key for charge in charges])), self._clock_us()
        for lease in [one for one in desk.leases if one.holds(now, charges)][:1] if desk else ():
            for place in slots:
                moved = lease.lent(place, reservation.id, charges[place])
                if moved is not None and self.ledger.lease(moved):
                    lease.hold(place, charges[place].amount)

    def _open(self, charges: Sequence[Charge]) -> None:
        with self._lock:
            if self.ledger is not None:
                self._desks.open(charges, self._clock_us())

    def _catch_up(self) -> None:
        while self._later:
            self._later.popleft()()

    # What the keeper does, in its own thread.

    def desks(self) -> list[Desk]:
        """Return the desks that want something, or hold something."""
        with self._lock:
            return [desk for desk in self._desks.values() if desk.wants or desk.leases]

    def install(self, desk: Desk, grant: Grant, calls: int, asked_us: int) -> None:
        """Let calls draw from a slice that was granted."""
        lease = Lease(grant, calls, asked_us)
        with self._lock:
            if desk.closed:
                self._end(lease)
            else:
                desk.granted(lease)

    def end_stale(self) -> None:
        """End the leases that are used up or past their time, and forget desks nobody came to."""
        now = self._clock_us()
        with self._exclusive():
            for name, desk in list(self._desks.items()):
                for lease in list(desk.leases):
                    if now >= lease.until_us or (lease.spent and len(desk.leases) > 1):
                        desk.leases.remove(lease)
                        self._end(lease)
                if desk.idle(now):
                    self._desks.close(name)

    def give_back(self, key: str) -> bool:
        """End the leases that hold something of a limit; True when there was any.

        A refusal may be owed to what this process holds and does not use.
        """
        found = False
        with self._exclusive():
            for name, desk in self._desks.items():
                if key in name:
                    place = name.index(key)
                    found = found or any(lease.left[place] > 0 for lease in desk.leases)
                    self._clear(desk)
                    desk.refused(self._clock_us())
        return found

    def end_all(self) -> None:
        """End every lease: the configuration changed, or the process lets go."""
        with self._exclusive():
            for desk in self._desks.values():
                desk.closed = True
                self._clear(desk)
            self._desks.close_all()

    def _clear(self, desk: Desk) -> None:
        leases, desk.leases = desk.leases, []
        for lease in leases:
            self._end(lease)

    def _end(self, lease: Lease) -> None:
        calls = [(call, ttl_us, drew) for call, (of, drew, ttl_us) in self._running.items() if of is lease]
        if self.ledger is not None:
            self.ledger.lease(lease.ended(calls))
        # Only now: a call that is not found here settles by itself, and that must come after the end.
        for call, *_ in calls:
            del self._running[call]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Have the book to oneself; what a collected stream wants meanwhile comes after."""
        with self._lock:
            self._busy = True
            try:
                yield
            finally:
                self._busy = False
                self._catch_up()


def _after_fork_in_child() -> None:
    # The slices are the parent's; nothing is returned for them here.
    for book in list(_books):
        book._begin()


_books: weakref.WeakSet[LeaseBook] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
