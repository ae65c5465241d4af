"""The thread that takes slices for hot tuples, renews them in time and ends them.

No call ever waits for it: until a slice is there, and whenever it is spent, Redis is asked as without
leases. It sleeps while nothing is hot.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable

from mesh_store.model.errors import MeshError
from mesh_store.model.facts import LeaseAsked, LeaseEnded
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Reservation
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_desk import Desk, Wish
from mesh_store.redis.lease_ledger import boottime_us
from mesh_store.redis.leasing import LEASE_RECORD_US, Grant, LeasingLimiter
from mesh_store.redis.steps import mint_id

log = logging.getLogger("mesh.limits")

#: Live processes, as long as nobody told how many there are.
UNHEARD = 4
#: For each of them, so many slices must be free before one is granted: at least half of what is free stays
#: with Redis when all take their largest at once.
SLICES_EACH = 2


class LeaseKeeper:
    """Keeps a book in leases.

    Args:
        book: the leases.
        connect: makes the limiter, in the thread.
        clients: how many processes share the limits; None while not known.
        clock_us: microseconds, as the book's.
        wall_us: a guess at the server's time.
    """

    def __init__(
        self,
        book: LeaseBook,
        connect: Callable[[], LeasingLimiter],
        clients: Callable[[], int | None] = lambda: None,
        *,
        clock_us: Callable[[], int] = boottime_us,
        wall_us: Callable[[], int] = now_us,
    ) -> None:
        self._book, self._connect, self._clients = book, connect, clients
        self._clock_us, self._wall_us = clock_us, wall_us
        self._begin()
        book.wanted = self.ring
        _keepers.add(self)

    def _begin(self) -> None:
        self._limiter: LeasingLimiter | None = None
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def ring(self) -> None:
        """Say that a desk wants a slice; returns at once."""
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="mesh-leases", daemon=True)
            self._thread.start()
        self._bell.put(None)

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread and all leases; the ring brings what is left of them to Redis."""
        self._stopping = True
        self._bell.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._book.end_all()

    def turn(self) -> float | None:
        """Do what is due; return the seconds until the next turn, None for "when it rings"."""
        self._book.end_stale()
        for desk in self._book.desks():
            if desk.due(self._clock_us()):
                self._take(desk)
        held = [desk.ttl_us for desk in self._book.desks()]
        return min(held) / 4e6 if held else None

    def _take(self, desk: Desk) -> None:
        asked_us = self._clock_us()
        wish, ledger = desk.wish(asked_us), self._book.ledger
        desk.asked(asked_us)
        if wish is None or ledger is None:
            return
        lease_id = mint_id()
        largest = _slice(lease_id, wish, self._wall_us())
        # Written before it is asked for: a crash at any point leaves word of it.
        if not ledger.lease(LeaseAsked(largest)):
            return
        try:
            grant = self._ask(desk, wish, lease_id)
        except (MeshError, ValueError) as error:
            # Calls go to Redis themselves and hear what is wrong. Here the slice may stand all the same.
            log.debug("no lease: %s", error)
            ledger.lease(LeaseEnded.abandoned(largest))
            desk.refused(self._clock_us())
            return
        if grant is None:
            ledger.lease(LeaseEnded(Reservation(lease_id, (), 0, 0), (), ()))
            desk.refused(self._clock_us())
            return
        ledger.lease(LeaseAsked(grant.reservation))
        self._book.install(desk, grant, wish.calls[grant.size], asked_us)

    def _ask(self, desk: Desk, wish: Wish, lease_id: str) -> Grant | None:
        share = SLICES_EACH * max(1, self._clients() or UNHEARD)
        if self._limiter is None:
            self._limiter = self._connect()
        return self._limiter.lease(wish.charges, wish.slices, share, lease_id, desk.ttl_us)

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self.turn()
            except Exception:
                # Without this thread nothing is leased any more, and what is would never be returned.
                log.exception("the keeper of leases stumbled")
                wait = 1.0
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=wait)

    def _after_fork(self) -> None:
        # The parent's socket and thread stay the parent's.
        _inherited.append((self._limiter, self._thread))
        stopped = self._stopping
        self._begin()
        self._stopping = stopped


def _slice(lease_id: str, wish: Wish, at_us: int) -> Reservation:
    largest = zip(wish.charges, wish.slices[0], strict=True)
    charges = tuple([Charge(charge.key, charge.limit, amount) for charge, amount in largest])
    return Reservation(lease_id, charges, at_us, at_us + LEASE_RECORD_US)


_keepers: weakref.WeakSet[LeaseKeeper] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    for keeper in list(_keepers):
        keeper._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
