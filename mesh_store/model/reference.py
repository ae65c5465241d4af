"""The limiter's law in memory, exactly as the scripts obey it, in virtual time.

Rates by `mesh_store.model.gcra`, budgets by `mesh_store.model.windows`, slots by their leases, members by
their days. Nothing here waits, knows a clock or speaks to a server: simulations replay traffic through
it, and tests hold the scripts against it, decision for decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh_store.model import gcra
from mesh_store.model.limits import MAX_EXACT, Charge, Decision, Reservation
from mesh_store.model.windows import window_of

#: How long after a window's end a settlement still changes it, microseconds.
WINDOW_KEPT_US = 604_800_000_000


@dataclass(slots=True)
class _Window:
    """A budget in one window: what the ledger counted, and what is open by reservation."""

    committed: int = 0
    version: int = -1
    open: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def put(self, owner: str, amount: int) -> None:
        """Set what a reservation holds; nothing removes it."""
        self.total += amount - self.open.get(owner, 0)
        if amount:
            self.open[owner] = amount
        else:
            self.open.pop(owner, None)


@dataclass(slots=True)
class _Record:
    """An open reservation: its value, and which charges were taken."""

    reservation: Reservation
    taken: frozenset[int]
    answer: Decision


class Reference:
    """Decides lists of charges, all or none; every method says when it happens.

    Args:
        done_us: how long it is remembered that a reservation was settled, microseconds.
    """

    def __init__(self, *, done_us: int = 60_000_000) -> None:
        self._done_us = done_us
        self._debts: dict[str, gcra.Debt] = {}
        self._slots: dict[str, dict[str, int]] = {}
        self._windows: dict[tuple[str, int], _Window] = {}
        self._members: dict[str, dict[int, int]] = {}
        #: How many calls saw a member, while none of them is settled.
        self._unsure: dict[tuple[str, int], int] = {}
        self._open: dict[str, _Record] = {}
        self._done: dict[str, int] = {}

    def reserve(
        self, charges: Sequence[Charge], *, reservation_id: str, ttl_us: int = 900_000_000, now_us: int
    ) -> Decision:
        """Take all charges, or none; the same id is answered the same while its record lasts."""
        record = self._record(reservation_id, now_us)
        if record is not None:
            return record.answer
        waits = [self._wait(charge, now_us) for charge in charges]
        short = [index for index, wait in enumerate(waits) if wait != 0]
        refusing = [index for index in short if charges[index].enforce]
        if refusing:
            return self._answer(charges, waits, refusing, now_us)
        taken = frozenset(range(len(charges))).difference(short)
        for index in taken:
            self._take(charges[index], reservation_id, now_us)
        reservation = Reservation(reservation_id, tuple(charges), now_us, now_us + ttl_us)
        answer = self._answer(charges, waits, (), now_us, reservation, tuple(short))
        self._open[reservation_id] = _Record(reservation, taken, answer)
        return answer

    def settle(self, reservation: Reservation, deltas: Sequence[int] = (), *, now_us: int) -> bool:
        """True a reservation up; one that is not open changes nothing but slots and budgets."""
        if self._done.get(reservation.id, 0) > now_us:
            return False
        record = self._record(reservation.id, now_us)
        for index, charge in enumerate(reservation.charges):
            if record is None or index in record.taken:
                delta = deltas[index] if deltas else 0
                self._settle(charge, delta, reservation, now_us, is_open=record is not None)
        if record is not None:
            self._end(reservation.id, now_us)
        return record is not None

    def cancel(self, reservation: Reservation, *, now_us: int) -> bool:
        """Give everything back, once."""
        was_open = self.settle(reservation, [-charge.amount for charge in reservation.charges], now_us=now_us)
        self._done.setdefault(reservation.id, now_us + self._done_us)
        return was_open

    def renew(self, reservation: Reservation, *, ttl_us: int = 900_000_000, now_us: int) -> bool:
        """Keep slots and record of a call that still runs; False when a lease had ended."""
        kept = True
        for charge in reservation.charges:
            if charge.limit.kind != "slots":
                continue
            held = self._slots.setdefault(charge.key, {})
            for number in range(1, charge.amount + 1):
                name = f"{reservation.id}/{number}"
                if held.get(name, 0) > now_us:
                    held[name] = now_us + charge.limit.period_us
                else:
                    kept = kept and not charge.enforce
        return kept

    def commit(self, charge: Charge, at_us: int, spent: int, version: int, settled: Sequence[str]) -> bool:
        """Set what the ledger counted in a window, and close what is part of it."""
        window = self._window(charge, at_us)
        for owner in settled:
            window.put(owner, 0)
        if version <= window.version:
            return False
        window.committed, window.version = spent, version
        return True

    def forget(self, reservation_id: str) -> None:
        """Lose the record of a reservation, as a server may."""
        self._open.pop(reservation_id, None)

    def _record(self, owner: str, now_us: int) -> _Record | None:
        record = self._open.get(owner)
        if record is not None and record.reservation.expires_at_us <= now_us:
            del self._open[owner]
            return None
        return record

    def _end(self, owner: str, now_us: int) -> None:
        del self._open[owner]
        self._done[owner] = now_us + self._done_us
        if len(self._done) > 10_000:
            self._done = {each: until for each, until in self._done.items() if until > now_us}

    def _debt(self, charge: Charge, now_us: int) -> gcra.Debt:
        return gcra.drain(self._debts.get(charge.key), gcra.rate_of(charge.limit), now_us)

    def _window(self, charge: Charge, at_us: int) -> _Window:
        return self._windows.setdefault((charge.key, window_of(charge.limit, at_us).start_us), _Window())

    def _held(self, charge: Charge, now_us: int) -> dict[str, int]:
        """Return the leases of a key that have not ended."""
        held = self._slots.setdefault(charge.key, {})
        for name in [name for name, ends in held.items() if ends <= now_us]:
            del held[name]
        return held

    def _seen(self, charge: Charge, now_us: int) -> dict[int, int]:
        """Return the members of a key that are known, in the order they will be forgotten."""
        seen = self._members.setdefault(charge.key, {})
        while seen and seen[first := next(iter(seen))] <= now_us:
            del seen[first]
        return seen

    def _wait(self, charge: Charge, now_us: int) -> int | None:
        """Microseconds until a charge fits: 0 now, None never."""
        limit = charge.limit
        if limit.kind == "rate":
            debt = self._debt(charge, now_us)
            return gcra.wait_for(debt.rate, debt.micros, debt.rem, charge.amount)
        if limit.kind == "window":
            window = self._window(charge, now_us)
            if window.committed + window.total + charge.amount <= limit.amount:
                return 0
            if charge.amount > limit.amount:
                return None
            return window_of(limit, now_us).end_us - now_us
        if limit.kind == "distinct":
            seen = self._seen(charge, now_us)
            if charge.amount in seen or len(seen) < limit.amount:
                return 0
            return next(iter(seen.values())) - now_us
        held = self._held(charge, now_us)
        short = len(held) + charge.amount - limit.amount
        if short <= 0:
            return 0
        return None if charge.amount > limit.amount else sorted(held.values())[short - 1] - now_us

    def _take(self, charge: Charge, owner: str, now_us: int) -> None:
        limit = charge.limit
        if limit.kind == "rate":
            self._debts[charge.key] = gcra.add(self._debt(charge, now_us), charge.amount)
        elif limit.kind == "window":
            self._window(charge, now_us).put(owner, charge.amount)
        elif limit.kind == "distinct":
            seen, member = self._members[charge.key], (charge.key, charge.amount)
            if charge.amount not in seen:
                self._unsure[member] = 1
            elif self._unsure.get(member):
                self._unsure[member] += 1
            if seen.get(charge.amount, 0) - now_us <= limit.period_us / 2:
                if seen.pop(charge.amount, None):
                    self._unsure.pop(member, None)
                seen[charge.amount] = now_us + limit.period_us
        else:
            held = self._held(charge, now_us)
            for number in range(1, charge.amount + 1):
                held[f"{owner}/{number}"] = now_us + limit.period_us

    def _settle(
        self, charge: Charge, delta: int, reservation: Reservation, now_us: int, *, is_open: bool
    ) -> None:
        limit = charge.limit
        if limit.kind == "slots":
            held = self._slots.setdefault(charge.key, {})
            for number in range(1, charge.amount + 1):
                held.pop(f"{reservation.id}/{number}", None)
        elif limit.kind == "window":
            window = window_of(limit, reservation.reserved_at_us)
            if now_us < window.end_us + WINDOW_KEPT_US:
                self._window(charge, window.start_us).put(reservation.id, charge.amount + delta)
        elif limit.kind == "distinct" and is_open:
            self._settle_member(charge, delta, reservation, now_us)
        elif limit.kind == "rate" and is_open and delta:
            debt = self._debt(charge, now_us)
            since = max(0, now_us - reservation.reserved_at_us) if limit.hard else 0
            self._debts[charge.key] = gcra.add(debt, delta) if delta > 0 else gcra.give(debt, -delta, since)

    def _settle_member(self, charge: Charge, delta: int, reservation: Reservation, now_us: int) -> None:
        """Forget a member that every call gave back; once one is settled, it was seen."""
        seen, member = self._seen(charge, now_us), (charge.key, charge.amount)
        since_us = seen.get(charge.amount, 0) - charge.limit.period_us
        if charge.amount not in seen or not self._unsure.get(member) or reservation.reserved_at_us < since_us:
            return
        if not 0 < charge.amount == -delta:
            del self._unsure[member]
            return
        self._unsure[member] -= 1
        if self._unsure[member] == 0:
            del seen[charge.amount]

    def _left(self, charge: Charge, now_us: int) -> int:
        """Units left of a limit, never negative."""
        limit = charge.limit
        if limit.kind == "rate":
            debt = self._debt(charge, now_us)
            return gcra.units_left(debt.rate, debt.micros, debt.rem)
        if limit.kind == "window":
            window = self._window(charge, now_us)
            return max(0, limit.amount - window.committed - window.total)
        if limit.kind == "distinct":
            return max(0, limit.amount - len(self._seen(charge, now_us)))
        return max(0, limit.amount - len(self._held(charge, now_us)))

    def _answer(
        self,
        charges: Sequence[Charge],
        waits: Sequence[int | None],
        refusing: Sequence[int],
        now_us: int,
        reservation: Reservation | None = None,
        shadow: tuple[int, ...] = (),
    ) -> Decision:
        binding = max(
            refusing, key=lambda i: (MAX_EXACT if (wait := waits[i]) is None else wait, -i), default=None
        )
        return Decision(
            admitted=binding is None,
            remaining=tuple(self._left(charge, now_us) for charge in charges),
            retry_after_us=0 if binding is None else waits[binding],
            reset_after_us=(0,) * len(charges),
            binding=binding,
            reservation=reservation,
            shadow_denied=shadow,
        )
