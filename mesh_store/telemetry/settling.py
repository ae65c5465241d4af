"""Settling what the ring says, and telling an outage from a settlement nobody can ever make."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from redis import exceptions as redis_errors

from mesh_store.model.errors import MeshError, Unavailable
from mesh_store.model.facts import Settlement
from mesh_store.model.limits import Charge, Reservation
from mesh_store.redis.failures import FAILURES

log = logging.getLogger(__name__)

#: Refusals of one settlement after which it is given up and counted.
TRIES = 3

_PASSES = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.NoPermissionError,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    OSError,
)


class Settler(Protocol):
    """What the shipper needs of a `mesh_store.redis.Limiter`."""

    def settle(self, reservation: Reservation, *, deltas: Sequence[int]) -> object:
        """Correct what a reservation took; a second time changes nothing."""

    def cancel(self, reservation_id: str, charges: Sequence[Charge]) -> object:
        """Give a reservation back if it was granted, and refuse it if it arrives late."""


class Away(Exception):
    """Redis cannot be used now; everything stays in the ring and is tried again."""


class Settlements:
    """Settles one record after another, each until Redis answered.

    Attributes:
        made: how many were answered.
        refused: how many were given up because Redis will never take them.
    """

    def __init__(self, settler: Settler) -> None:
        self._settler = settler
        self._tries = 0
        self.made = 0
        self.refused = 0

    def settle(self, settlement: Settlement) -> None:
        """Settle; returns when it is done or can never be done.

        Raises:
            Away: when it has to be tried again.
        """
        try:
            deltas = settlement.deltas
        except ValueError:
            self._give_up(settlement.reservation.id, "amounts and charges differ in number")
            return
        try:
            self._settler.settle(settlement.reservation, deltas=deltas)
        except (*FAILURES, MeshError, ValueError) as error:
            self._judge(settlement.reservation.id, error)
        else:
            self._done()

    def cancel(self, reservation_id: str, charges: Sequence[Charge]) -> None:
        """Cancel; as `settle`."""
        try:
            self._settler.cancel(reservation_id, charges)
        except (*FAILURES, MeshError, ValueError) as error:
            self._judge(reservation_id, error)
        else:
            self._done()

    def _done(self) -> None:
        self._tries = 0
        self.made += 1

    def _judge(self, reservation_id: str, error: Exception) -> None:
        if passes_by_itself(error):
            raise Away(f"settle: {error}") from error
        self._tries += 1
        if self._tries < TRIES:
            raise Away(f"settle: {error}") from error
        self._give_up(reservation_id, str(error))

    def _give_up(self, reservation_id: str, why: str) -> None:
        self._tries = 0
        self.refused += 1
        log.error("reservation %s cannot be settled and keeps its estimate: %s", reservation_id, why)


def passes_by_itself(error: BaseException) -> bool:
    """Tell an outage (wrong credentials included: someone corrects them) from a hopeless request."""
    if isinstance(error, Unavailable):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _PASSES):
            return True
        cause = cause.__cause__
    return isinstance(error, redis_errors.RedisError) and not isinstance(error, redis_errors.ResponseError)
