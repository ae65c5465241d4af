"""Settling what the ring says, and telling an outage from a settlement nobody can ever make."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, cast

from redis import exceptions as redis_errors

from mesh_store.model.errors import MeshError, Unavailable
from mesh_store.model.facts import LeaseEnded, Settlement, SlotsMoved
from mesh_store.model.limits import Charge, Reservation
from mesh_store.redis.failures import FAILURES

log = logging.getLogger(__name__)

#: Refusals of a lone settlement after which it is given up and counted: about 20 s of trying.
TRIES = 10

_PASSES = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.NoPermissionError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
)


#: A reservation and, for each of its charges, what to add to it.
Pair = tuple[Reservation, Sequence[int]]


class Settler(Protocol):
    """What the shipper needs of a `mesh_store.redis.Limiter`."""

    def settle_all(self, settlements: Sequence[tuple[Reservation, Sequence[int]]]) -> object:
        """Correct what reservations took, by signed units per charge; a second time changes nothing."""

    def cancel(self, reservation_id: str, charges: Sequence[Charge]) -> object:
        """Give a reservation back if it was granted, and refuse it if it arrives late."""

    def renew(self, reservations: Sequence[Reservation]) -> object:
        """Keep the slots of calls that still run."""


class LeaseSettler(Settler, Protocol):
    """A `Settler` for callers that take slices of limits."""

    def end_lease(self, ended: LeaseEnded) -> object:
        """Divide a slice among the calls that run on it and give back the rest; a second time nothing."""

    def move_slots(self, moved: SlotsMoved) -> object:
        """Make slots of a call that ended slots of a lease."""


class Away(Exception):
    """Redis cannot be used now; everything stays in the ring and is tried again."""


class Settlements:
    """Settles until Redis answered.

    Attributes:
        made: how many were answered.
        refused: how many were given up because Redis will never take them.
    """

    def __init__(self, settler: Settler | LeaseSettler) -> None:
        self._settler = settler
        self._tries: dict[str, int] = {}
        self.made = 0
        self.refused = 0

    def settle_all(self, settlements: Sequence[Settlement]) -> None:
        """Settle; returns when each is done or can never be done.

        Raises:
            Away: when it has to be tried again, all of it: a repeat changes nothing.
        """
        pairs = []
        for settlement in settlements:
            try:
                pairs.append((settlement.reservation, settlement.deltas))
            except ValueError as error:
                self._give_up(settlement.reservation.id, error)
        if not pairs:
            return
        try:
            self._settler.settle_all(pairs)
        except (*FAILURES, MeshError, ValueError) as error:
            if passes_by_itself(error):
                raise Away(f"settle: {error}") from error
            self._one_by_one(pairs)
        else:
            self.made += len(pairs)

    def cancel(self, reservation_id: str, charges: Sequence[Charge]) -> None:
        """Cancel; as `settle_all`."""
        error = self._try(partial(self._settler.cancel, reservation_id, charges))
        if error is not None:
            self._count(reservation_id, error)

    def lease(self, record: LeaseEnded | SlotsMoved) -> None:
        """Do what a record about a lease says; as `settle_all`."""
        settler = cast("LeaseSettler", self._settler)
        if isinstance(record, SlotsMoved):
            name, error = record.call, self._try(partial(settler.move_slots, record))
        else:
            name, error = record.lease.id, self._try(partial(settler.end_lease, record))
        if error is not None:
            self._count(name, error)

    def renew(self, reservations: Sequence[Reservation]) -> None:
        """Renew slots; what Redis refuses for good is left to end with its lease.

        Raises:
            Away: when it has to be tried again.
        """
        try:
            self._settler.renew(reservations)
        except (*FAILURES, MeshError, ValueError) as error:
            if passes_by_itself(error):
                raise Away(f"renew: {error}") from error
            log.warning("slots of running calls cannot be renewed: %s", error)

    def _one_by_one(self, pairs: Sequence[Pair]) -> None:
        """Find out which of many is refused; while others pass, a refusal is meant for that one alone."""
        failed = dict(self._apart(pairs))
        for reservation_id, error in failed.items():
            if len(failed) < len(pairs):
                self._give_up(reservation_id, error)
            else:
                self._count(reservation_id, error)

    def _apart(self, pairs: Sequence[Pair]) -> Iterator[tuple[str, Exception]]:
        """Settle halves, and halves of what was refused, down to those that are refused alone."""
        if len(pairs) == 1:
            error = self._try(partial(self._settler.settle_all, pairs))
            if error is not None:
                yield pairs[0][0].id, error
            return
        for half in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
            if self._try(partial(self._settler.settle_all, half), len(half)) is not None:
                yield from self._apart(half)

    def _try(self, call: Callable[[], object], count: int = 1) -> Exception | None:
        try:
            call()
        except (*FAILURES, MeshError, ValueError) as error:
            if passes_by_itself(error):
                raise Away(f"settle: {error}") from error
            return error
        self.made += count
        return None

    def _count(self, reservation_id: str, error: Exception) -> None:
        """Have it tried again, a few times."""
        self._tries[reservation_id] = self._tries.get(reservation_id, 0) + 1
        if self._tries[reservation_id] < TRIES:
            raise Away(f"settle: {error}") from error
        self._give_up(reservation_id, error)

    def _give_up(self, reservation_id: str, error: Exception) -> None:
        self.refused += 1
        self._tries.pop(reservation_id, None)
        log.error("reservation %s cannot be settled and keeps its estimate: %s", reservation_id, error)


def passes_by_itself(error: BaseException) -> bool:
    """Tell what time or an operator will mend (wrong credentials included) from a hopeless request."""
    if isinstance(error, Unavailable | OSError):
        return True
    if isinstance(error, MeshError):
        # The limiter's word for refused credentials and permissions; it keeps no cause.
        return str(error).startswith("Redis refused")
    return isinstance(error, redis_errors.RedisError) and (
        isinstance(error, _PASSES) or not isinstance(error, redis_errors.ResponseError)
    )
