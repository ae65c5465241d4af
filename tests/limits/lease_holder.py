"""A caller with leases, all of it but the provider: what it took from Redis, and what calls it let go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mesh_store.model import Charge, Limit, QuotaUnavailable
from mesh_store.model.facts import Settlement
from mesh_store.redis import connect
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedLimiter
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_keeper import LeaseKeeper
from mesh_store.redis.leasing import Grant, LeasingLimiter
from mesh_store.redis.outage import OutagePolicy
from mesh_store.redis.steps import mint_id
from mesh_store.telemetry import Recorder

#: So slow a drain that nothing comes back by itself during a test.
MONTH = 30 * 86_400_000_000

#: Generous, because the tests share their machine.
PATIENCE = 5.0


def tuple_of(units: int, *tags: str) -> list[Charge]:
    """Charges of a soft and a hard limit and of slots: of ``units`` a month, all at once, under each tag."""
    return [
        Charge(f"{{{tag}}}:q:{name}", limit, 1)
        for tag in tags
        for name, limit in {
            "soft": Limit(amount=units, period_us=MONTH, burst=units),
            # A hard limit's burst is part of its amount.
            "hard": Limit(amount=2 * units, period_us=MONTH, burst=units, hard=True),
            "slots": Limit(amount=900, period_us=60_000_000, kind="slots"),
        }.items()
    ]


class Holder:
    """Takes one call after the other from the same limits, by lease or directly.

    Attributes:
        leased, direct: calls that may go, decided in memory and by Redis.
        refused: True once the limits are used up.
        unsure: ids of calls nobody could decide.
        slices: units of every slice that Redis granted, by its id, oldest first.
        spent: calls that drew from each slice.
        abandoned: units of slices nobody knows to be granted: they are not given back.
        gate: held by whoever wants nothing to be asked or spent for a while.
    """

    def __init__(self, url: str, charges: Sequence[Charge], *, holders: int = 1) -> None:
        self.charges = list(charges)
        self.leased = self.direct = self.abandoned = 0
        self.slices: dict[str, int] = {}
        self.spent: Counter[str] = Counter()
        self.refused = False
        self.unsure: list[str] = []
        self.gate = threading.Lock()
        self.book = LeaseBook()
        self.recorder = Recorder(None, url, leases=self.book)
        self.keeper = LeaseKeeper(self.book, lambda: _Noted(self, url), lambda: holders)
        guard = Guard(Breaker(), OutagePolicy(), self.book, self.recorder.flush)
        self._limiter = GuardedLimiter(connect(url, deadline=PATIENCE, connect_deadline=PATIENCE), guard)

    @property
    def granted(self) -> int:
        """Calls that may go."""
        return self.leased + self.direct

    @property
    def live(self) -> bool:
        """Tell whether a slice is held with a good part of its time and of its units left."""
        soon = self.book._clock_us() + 300_000
        leases = [lease for desk in self.book.desks() for lease in desk.leases]
        return any(lease.holds(soon, self.charges) and min(lease.left) > 20 for lease in leases)

    def call(self) -> bool:
        """Make a call that ends at once; False when it was refused or could not be decided."""
        owner = mint_id()
        with self.gate:
            try:
                decision = self._limiter.reserve(self.charges, reservation_id=owner)
            except QuotaUnavailable:
                self.unsure.append(owner)
                return False
            if decision.reservation is None:
                self.refused = True
                return False
            drew = self.book._running.get(owner)
            if drew is not None:
                self.leased += 1
                self.spent[drew[0].slice.id] += 1
            else:
                self.direct += 1
        self.recorder.settle(Settlement(decision.reservation, tuple([1] * len(self.charges))))
        return True

    def until_live(self) -> None:
        """Call until a slice is held."""
        deadline = time.monotonic() + 30
        while not self.live:
            assert time.monotonic() < deadline
            assert self.call()
            time.sleep(0.001)

    def until_refused(self, pause: float = 0.001, within: float = 60.0) -> None:
        """Call until the limits are used up, whatever happens to the servers."""
        deadline = time.monotonic() + within
        while not self.refused:
            assert time.monotonic() < deadline
            time.sleep(pause if self.call() else 0.02)

    def close(self) -> None:
        """Give everything back, and wait until Redis has it."""
        self.keeper.close(PATIENCE)
        assert self.recorder.flush(30)
        self.recorder.close(PATIENCE)


class _Noted(LeasingLimiter):
    """Takes slices for a holder, who notes them."""

    def __init__(self, holder: Holder, url: str) -> None:
        super().__init__(connect(url, deadline=PATIENCE, connect_deadline=PATIENCE))
        self._holder = holder

    def lease(self, charges: Any, slices: Any, *rest: Any, **options: Any) -> Grant | None:
        holder = self._holder
        with holder.gate:
            try:
                grant = super().lease(charges, slices, *rest, **options)
            except QuotaUnavailable:
                holder.abandoned += slices[0][0]
                raise
            if grant is not None:
                holder.slices[grant.reservation.id] = grant.reservation.charges[0].amount
            return grant
