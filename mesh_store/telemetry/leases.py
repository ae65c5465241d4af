"""Slots of running calls: renewed at a third of their lease, so that a long stream keeps its own."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mesh_store.model.limits import Reservation
from mesh_store.telemetry.settling import Settlements

#: Renewals come at one part in so many of the lease: two may fail before the slot is gone.
RENEW_SHARE = 3


class Leases:
    """The reservations of running calls that hold slots."""

    def __init__(self, settlements: Settlements) -> None:
        self._settlements = settlements
        self._held: dict[str, list[Reservation]] = {}
        self._due: dict[str, float] = {}

    @property
    def next_due(self) -> float | None:
        """When `renew` has something to do, on the monotonic clock; None when never."""
        return min(self._due.values(), default=None)

    def hold(self, intent: str, reservations: Sequence[Reservation]) -> None:
        """Begin to renew a call's slots, if it has any."""
        held = [each for each in reservations if _renewed_every([each]) is not None]
        if held:
            self._held[intent] = held
            self._due[intent] = time.monotonic() + (_renewed_every(held) or 0.0)

    def drop(self, intent: str) -> None:
        """End it: the call is over, and its settlement frees the slots."""
        self._held.pop(intent, None)
        self._due.pop(intent, None)

    def renew(self, now: float) -> None:
        """Renew what is due.

        Raises:
            Away: when it has to be tried again.
        """
        due = [intent for intent, at in self._due.items() if at <= now]
        if not due:
            return
        self._settlements.renew([each for intent in due for each in self._held[intent]])
        for intent in due:
            self._due[intent] = now + (_renewed_every(self._held[intent]) or 0.0)


def _renewed_every(reservations: Sequence[Reservation]) -> float | None:
    leases = [
        charge.limit.period_us
        for reservation in reservations
        for charge in reservation.charges
        if charge.limit.kind == "slots"
    ]
    return min(leases) / 1_000_000 / RENEW_SHARE if leases else None
