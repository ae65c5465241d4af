"""The limiter in memory: the same decisions as over Redis, in one process, on any clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mesh_store.model import gcra
from mesh_store.model.ids import new_id
from mesh_store.model.limits import Charge, Decision, Reservation
from mesh_store.model.windows import window_of


class MemoryLimiter:
    """Decides like `mesh_store.redis.Limiter`, in this process: rates exactly, slots by count,
    budgets by their calendar windows.

    Attributes:
        now_us: the clock, microseconds since the epoch; advance it to let limits refill.
    """

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        self.now_us = now_us or (lambda: time.time_ns() // 1_000)
        self._debts: dict[str, gcra.Debt] = {}
        #: Slots held by key; spending by key and start of its window.
        self._counts: dict[tuple[str, int], int] = {}
        self._seen: dict[str, dict[int, int]] = {}
        #: How many calls saw a member, while none of them is settled.
        self._unsure: dict[tuple[str, int], int] = {}
        #: Open reservations: which charges were really taken (not those that shadow mode left out), and
        #: what was answered.
        self._open: dict[str, tuple[set[int], Decision]] = {}
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
        """Take all charges or none; the same id is answered the same until it is settled."""
        with self._lock:
            if reservation_id in self._open:
                return self._open[reservation_id][1]
            now = self.now_us()
            verdict = self._verdict(charges, now, max_wait_us)
            if verdict["binding"] is not None:
                return self._decision(charges, now, **verdict)
            taken = set(range(len(charges))).difference(verdict["shadow_denied"])
            for index in taken:
                self._add(charges[index], charges[index].amount, now)
            reservation = Reservation(reservation_id or new_id(), tuple(charges), now, now + ttl_us)
            decision = self._decision(charges, now, reservation=reservation, **verdict)
            self._open[reservation.id] = (taken, decision)
            return decision

    def peek(self, charges: Sequence[Charge]) -> Decision:
        """Say what `reserve` would answer, taking nothing."""
        with self._lock:
            now = self.now_us()
            return self._decision(charges, now, **self._verdict(charges, now, 0))

    def settle(self, reservation: Reservation, deltas: Sequence[int] = ()) -> bool:
        """True a reservation up, slots come free in any case; False when it was settled before."""
        with self._lock:
            taken, _ = self._open.pop(reservation.id, (None, None))
            if taken is None:
                return False
            now = self.now_us()
            for index in taken:
                charge = reservation.charges[index]
                delta = deltas[index] if deltas else 0
                if charge.limit.kind == "distinct":
                    self._settle_member(charge, 0 < charge.amount == -delta, now)
                    continue
                # What was spent belongs to the window it was reserved in.
                at = reservation.reserved_at_us if charge.limit.kind == "window" else now
                self._add(charge, -charge.amount if charge.limit.kind == "slots" else delta, at)
            return True

    def cancel(self, reservation_id: str) -> None:
        """Give back a reservation whose answer nobody read; an unknown one is nothing."""
        with self._lock:
            _, decision = self._open.get(reservation_id, (None, None))
            if decision is not None and decision.reservation is not None:
                held = decision.reservation
                self.settle(held, tuple(-charge.amount for charge in held.charges))

    def _verdict(self, charges: Sequence[Charge], now: int, max_wait_us: int) -> dict[str, Any]:
        waits = [self._wait(charge, now) for charge in charges]
        short = [index for index, wait in enumerate(waits) if wait is None or wait > max_wait_us]
        refused = [index for index in short if charges[index].enforce]
        if refused:
            binding = max(refused, key=lambda i: float("inf") if waits[i] is None else waits[i] or 0)
            return {"binding": binding, "retry_after_us": waits[binding], "shadow_denied": ()}
        slept = (wait or 0 for wait, charge in zip(waits, charges, strict=True) if charge.enforce)
        return {
            "binding": None,
            "retry_after_us": 0,
            "wait_us": max(slept, default=0),
            "shadow_denied": tuple(short),
        }

    def _wait(self, charge: Charge, now: int) -> int | None:
        if charge.limit.kind == "rate":
            rate = gcra.rate_of(charge.limit)
            debt = gcra.drain(self._debts.get(charge.key), rate, now)
            return gcra.wait_for(rate, debt.micros, debt.rem, charge.amount)
        if charge.limit.kind == "distinct":
            seen = self._members(charge, now)
            return 0 if charge.amount in seen or len(seen) < charge.limit.amount else charge.limit.period_us
        if charge.amount > charge.limit.amount:
            return None
        room, reset_us = self._left(charge, now)
        return 0 if charge.amount <= room else reset_us

    def _add(self, charge: Charge, units: int, now: int) -> None:
        if charge.limit.kind == "distinct":
            seen, member = self._members(charge, now), (charge.key, charge.amount)
            if charge.amount not in seen:
                self._unsure[member] = 1
            elif self._unsure.get(member):
                self._unsure[member] += 1
            seen[charge.amount] = now + charge.limit.period_us
            return
        if charge.limit.kind != "rate":
            counted = _counted(charge, now)
            self._counts[counted] = max(0, self._counts.get(counted, 0) + units)
            return
        debt = gcra.drain(self._debts.get(charge.key), gcra.rate_of(charge.limit), now)
        self._debts[charge.key] = gcra.add(debt, units) if units >= 0 else gcra.give(debt, -units)

    def _settle_member(self, charge: Charge, back: bool, now: int) -> None:
        """Forget a member that every call gave back; once one is settled, it was seen."""
        member = charge.key, charge.amount
        calls = self._unsure.pop(member, 0)
        if back and calls > 1:
            self._unsure[member] = calls - 1
        elif back and calls == 1:
            self._members(charge, now).pop(charge.amount, None)

    def _members(self, charge: Charge, now: int) -> dict[int, int]:
        """Return who was seen, by number, and until when; those forgotten are gone."""
        seen = self._seen.setdefault(charge.key, {})
        for member in [member for member, ends in seen.items() if ends <= now]:
            del seen[member]
        return seen

    def _left(self, charge: Charge, now: int) -> tuple[int, int]:
        if charge.limit.kind == "distinct":
            return max(0, charge.limit.amount - len(self._members(charge, now))), charge.limit.period_us
        if charge.limit.kind != "rate":
            used = self._counts.get(_counted(charge, now), 0)
            ends = window_of(charge.limit, now).end_us if charge.limit.kind == "window" else 0
            reset_us = ends - now if ends else charge.limit.period_us
            return max(0, charge.limit.amount - used), reset_us if used else 0
        rate = gcra.rate_of(charge.limit)
        debt = gcra.drain(self._debts.get(charge.key), rate, now)
        return gcra.units_left(rate, debt.micros, debt.rem), gcra.drained_after(debt.micros, debt.rem)

    def _decision(self, charges: Sequence[Charge], now: int, **verdict: Any) -> Decision:
        lefts = [self._left(charge, now) for charge in charges]
        return Decision(
            admitted=verdict["binding"] is None,
            remaining=tuple(left for left, _ in lefts),
            reset_after_us=tuple(reset for _, reset in lefts),
            **verdict,
        )


def _counted(charge: Charge, at_us: int) -> tuple[str, int]:
    window = charge.limit.kind == "window"
    return charge.key, window_of(charge.limit, at_us).start_us if window else 0


class AsyncMemoryLimiter:
    """The same limiter, awaited."""

    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter

    async def reserve(self, charges: Sequence[Charge], **options: Any) -> Decision:
        """Take all charges or none."""
        return self._limiter.reserve(charges, **options)
