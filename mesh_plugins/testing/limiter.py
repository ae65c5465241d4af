"""The limiter in memory: the same decisions as over Redis, in one process, on any clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mesh_store.model import gcra
from mesh_store.model.ids import new_id
from mesh_store.model.limits import Charge, Decision, Reservation


class MemoryLimiter:
    """Decides like `mesh_store.redis.Limiter`, in this process: rates exactly, slots by count.

    Calendar windows are counted without their calendar: they never roll over here.

    Attributes:
        now_us: the clock; advance it to let limits refill.
    """

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        self.now_us = now_us or (lambda: time.monotonic_ns() // 1_000)
        self._debts: dict[str, gcra.Debt] = {}
        self._counts: dict[str, int] = {}
        #: Open reservations, by the charges that were really taken: not those that shadow mode left out.
        self._open: dict[str, set[int]] = {}
        # Reentrant: a stream dropped here settles from the garbage collector, in this very thread.
        self._lock = threading.RLock()

    def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = 0,
    ) -> Decision:
        """Take all charges or none."""
        with self._lock:
            now = self.now_us()
            asked = [self._ask(charge, now) for charge in charges]
            waits = [wait for _, wait in asked]
            short = [index for index, wait in enumerate(waits) if wait is None or wait > max_wait_us]
            refused = [index for index in short if charges[index].enforce]
            if refused:
                binding = max(refused, key=lambda i: float("inf") if waits[i] is None else waits[i] or 0)
                return self._decision(charges, now, retry=waits[binding], binding=binding)
            taken = set(range(len(charges))).difference(short)
            for index in taken:
                self._add(charges[index], charges[index].amount, now)
            reservation = Reservation(reservation_id or new_id(), tuple(charges), now, now + ttl_us)
            self._open[reservation.id] = taken
            slept = (wait or 0 for wait, charge in zip(waits, charges, strict=True) if charge.enforce)
            return self._decision(
                charges,
                now,
                retry=0,
                reservation=reservation,
                wait_us=max(slept, default=0),
                shadow_denied=tuple(short),
            )

    def peek(self, charges: Sequence[Charge]) -> Decision:
        """Say what is left, taking nothing."""
        with self._lock:
            return self._decision(charges, self.now_us(), retry=0)

    def settle(self, reservation: Reservation, deltas: Sequence[int]) -> bool:
        """True a reservation up; False when it was settled before."""
        with self._lock:
            taken = self._open.pop(reservation.id, None)
            if taken is None:
                return False
            now = self.now_us()
            for index, (charge, delta) in enumerate(zip(reservation.charges, deltas, strict=True)):
                if index in taken:
                    self._add(charge, delta, now)
            return True

    def _ask(self, charge: Charge, now: int) -> tuple[Charge, int | None]:
        if charge.limit.kind == "rate":
            rate = gcra.rate_of(charge.limit)
            debt = gcra.drain(self._debts.get(charge.key), rate, now)
            return charge, gcra.wait_for(rate, debt.micros, debt.rem, charge.amount)
        room = charge.limit.amount - self._counts.get(charge.key, 0)
        return charge, 0 if charge.amount <= room else charge.limit.period_us

    def _add(self, charge: Charge, units: int, now: int) -> None:
        if charge.limit.kind != "rate":
            self._counts[charge.key] = max(0, self._counts.get(charge.key, 0) + units)
            return
        debt = gcra.drain(self._debts.get(charge.key), gcra.rate_of(charge.limit), now)
        self._debts[charge.key] = gcra.add(debt, units) if units >= 0 else gcra.give(debt, -units)

    def _left(self, charge: Charge, now: int) -> tuple[int, int]:
        if charge.limit.kind != "rate":
            return max(0, charge.limit.amount - self._counts.get(charge.key, 0)), charge.limit.period_us
        rate = gcra.rate_of(charge.limit)
        debt = gcra.drain(self._debts.get(charge.key), rate, now)
        return gcra.units_left(rate, debt.micros, debt.rem), gcra.drained_after(debt.micros, debt.rem)

    def _decision(self, charges: Sequence[Charge], now: int, *, retry: int | None, **more: Any) -> Decision:
        lefts = [self._left(charge, now) for charge in charges]
        return Decision(
            admitted=more.get("reservation") is not None,
            remaining=tuple(left for left, _ in lefts),
            reset_after_us=tuple(reset for _, reset in lefts),
            retry_after_us=retry,
            **more,
        )


class AsyncMemoryLimiter:
    """The same limiter, awaited."""

    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter

    async def reserve(self, charges: Sequence[Charge], **options: Any) -> Decision:
        """Take all charges or none."""
        return self._limiter.reserve(charges, **options)
