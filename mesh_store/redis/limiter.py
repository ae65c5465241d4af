"""The limiter: decides lists of charges in Redis, all or none.

`Limiter` serves threads over `redis.Redis`, `AsyncLimiter` one event loop over
`redis.asyncio.Redis`; every method of one exists in the other. Neither lets an exception of the
client out: an outage is `QuotaUnavailable`, a mistake somebody must correct is `ConfigError`.

A reply that was lost is asked for once more under the same reservation id, so the worst decision
takes two of the client's deadlines and counts once. Virtual time (``now_us``) is for tests and
simulations; 0 means the server's clock, which is the only one that should decide for real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

from mesh_store.model.limits import Charge, Decision, Reservation
from mesh_store.redis import reserving, settling
from mesh_store.redis.answers import ADMITTED, Answer, decided
from mesh_store.redis.driver import AsyncDriver, Driver
from mesh_store.redis.reserving import RECORD_LIFETIME_US
from mesh_store.redis.returns import AsyncReturns
from mesh_store.redis.steps import Course, Orphaned, mint_id
from mesh_store.redis.watching import Watch


def _ignore(reservation_id: str, charges: Sequence[Charge]) -> None:
    """Leave orphans to decay; a `Mesh` puts a cancel into its ring instead (`mesh_store.redis.guard`)."""


class Limiter:
    """Decides charges for threads.

    Args:
        client: a client made by `connect`, or any `redis.Redis`.
        orphaned: told of charges that may stand without a reservation, because no reply came.
    """

    def __init__(self, client: redis.Redis, *, orphaned: Orphaned = _ignore) -> None:
        self._driver = Driver(client)
        self._orphaned = orphaned
        self._watch = Watch(orphaned)

    def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take all charges, or none.

        Args:
            charges: what to take; keys must differ.
            reservation_id: the id to decide under; minted when absent. The same id replays the
                recorded answer.
            max_wait_us: book a wait of at most this long instead of being refused; the caller
                sleeps ``decision.wait_us`` and goes on, first come first served.
            ttl_us: how long the record waits for its settlement.
            now_us: virtual time; 0 is the server's.

        Raises:
            QuotaUnavailable: Redis could not decide.
            ConfigError: Redis refused us, or the id was used for other charges.
            ValueError: a limit or amount cannot be counted exactly; names the field.
        """
        owner = reservation_id or mint_id()
        asks = reserving.asked(charges, owner, ttl_us, max_wait_us, now_us)
        circuit = self._watch.circuit(asks[0].part.tag)
        try:
            first: Any = circuit.shut()
            if first is None:
                first = self._driver.ask(asks[0], now_us)
                circuit.heard(first)
            if len(asks) == 1 and type(first) is Answer and first.status <= ADMITTED:
                return decided([first], owner if first.status == ADMITTED else None)
            decision: Decision = self._driver.follow(reserving.rest(asks, first, now_us, self._watch))
        except (KeyboardInterrupt, SystemExit):
            # Interrupted (Ctrl-C) while the answer was on its way: nobody will hold the reservation.
            self._orphaned(owner, charges)
            raise
        return decision

    def settle(self, reservation: Reservation, deltas: Sequence[int] = (), *, now_us: int = 0) -> bool:
        """True a reservation up: signed units per charge, none meaning "as reserved".

        Returns:
            True the first time; False when nothing was open under the id, and nothing changed.
        """
        return self.settle_all([(reservation, deltas)], now_us=now_us)[0]

    def settle_all(
        self, settlements: Sequence[tuple[Reservation, Sequence[int]]], *, now_us: int = 0
    ) -> list[bool]:
        """Settle many reservations in as few calls as their tags allow."""
        applied: list[bool] = self._driver.follow(settling.settle(settlements, now_us=now_us))
        return applied

    def cancel(
        self, reservation_id: str, charges: Sequence[Charge], *, reserved_at_us: int = 0, now_us: int = 0
    ) -> bool:
        """Give everything back; for a minute the id is refused should its reserve come late.

        Args:
            reservation_id: the id the charges were, or may have been, reserved under.
            charges: the same charges.
            reserved_at_us: when they were reserved, where that is known: it says whose calendar
                window holds a budget's estimate. Else the present window and the one before are
                looked into.
            now_us: virtual time; 0 is the server's.

        Returns:
            True when something was open under the id.
        """
        course = settling.cancel([(reservation_id, charges)], reserved_at_us=reserved_at_us, now_us=now_us)
        [applied] = self._driver.follow(course)
        return bool(applied)

    def renew(
        self,
        reservations: Sequence[Reservation],
        *,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> list[bool]:
        """Keep the slots and records of calls that still run; due at a third of the shortest lease.

        Returns:
            For each whether it kept its slots; False when a lease had ended before.
        """
        kept: list[bool] = self._driver.follow(settling.renew(reservations, ttl_us=ttl_us, now_us=now_us))
        return kept

    def peek(self, charges: Sequence[Charge], *, now_us: int = 0) -> Decision:
        """Say what `reserve` would answer now, changing nothing."""
        decision: Decision = self._driver.follow(reserving.peek(charges, now_us=now_us))
        return decision

    def at_most(
        self,
        charge: Charge,
        *,
        reservation_id: str | None = None,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take as many units of a rate limit as fit; ``decision.granted`` says how many."""
        owner = reservation_id or mint_id()
        course = reserving.at_most(charge, owner, ttl_us=ttl_us, now_us=now_us, orphaned=self._orphaned)
        return self._decide(course, owner, [charge])

    def _decide(self, course: Course, owner: str, charges: Sequence[Charge]) -> Decision:
        try:
            decision: Decision = self._driver.follow(course)
        except (KeyboardInterrupt, SystemExit):
            # Interrupted (Ctrl-C) while the answer was on its way: nobody will hold the reservation.
            self._orphaned(owner, charges)
            raise
        return decision


class AsyncLimiter:
    """Decides charges for one event loop; methods and arguments are `Limiter`'s."""

    def __init__(self, client: redis.asyncio.Redis, *, orphaned: Orphaned = _ignore) -> None:
        self._driver = AsyncDriver(client)
        self._orphaned = orphaned
        self._watch = Watch(orphaned)
        self._returns = AsyncReturns(self._driver, orphaned)

    async def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take all charges, or none; see `Limiter.reserve`."""
        owner = reservation_id or mint_id()
        asks = reserving.asked(charges, owner, ttl_us, max_wait_us, now_us)
        circuit = self._watch.circuit(asks[0].part.tag)
        try:
            first: Any = circuit.shut()
            if first is None:
                first = await self._driver.ask(asks[0], now_us)
                circuit.heard(first)
            if len(asks) == 1 and type(first) is Answer and first.status <= ADMITTED:
                return decided([first], owner if first.status == ADMITTED else None)
            decision: Decision = await self._driver.follow(reserving.rest(asks, first, now_us, self._watch))
        except asyncio.CancelledError:
            self._returns.add(owner, charges)
            raise
        return decision

    async def settle(self, reservation: Reservation, deltas: Sequence[int] = (), *, now_us: int = 0) -> bool:
        """True a reservation up; see `Limiter.settle`."""
        return (await self.settle_all([(reservation, deltas)], now_us=now_us))[0]

    async def settle_all(
        self, settlements: Sequence[tuple[Reservation, Sequence[int]]], *, now_us: int = 0
    ) -> list[bool]:
        """Settle many reservations in as few calls as their tags allow."""
        applied: list[bool] = await self._driver.follow(settling.settle(settlements, now_us=now_us))
        return applied

    async def cancel(
        self, reservation_id: str, charges: Sequence[Charge], *, reserved_at_us: int = 0, now_us: int = 0
    ) -> bool:
        """Give everything back; see `Limiter.cancel`."""
        course = settling.cancel([(reservation_id, charges)], reserved_at_us=reserved_at_us, now_us=now_us)
        [applied] = await self._driver.follow(course)
        return bool(applied)

    async def renew(
        self,
        reservations: Sequence[Reservation],
        *,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> list[bool]:
        """Keep the slots and records of calls that still run; due at a third of the shortest lease.

        Returns:
            For each whether it kept its slots; False when a lease had ended before.
        """
        kept: list[bool] = await self._driver.follow(
            settling.renew(reservations, ttl_us=ttl_us, now_us=now_us)
        )
        return kept

    async def peek(self, charges: Sequence[Charge], *, now_us: int = 0) -> Decision:
        """Say what `reserve` would answer now, changing nothing."""
        decision: Decision = await self._driver.follow(reserving.peek(charges, now_us=now_us))
        return decision

    async def at_most(
        self,
        charge: Charge,
        *,
        reservation_id: str | None = None,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take as many units of a rate limit as fit; ``decision.granted`` says how many."""
        owner = reservation_id or mint_id()
        course = reserving.at_most(charge, owner, ttl_us=ttl_us, now_us=now_us, orphaned=self._orphaned)
        return await self._decide(course, owner, [charge])

    async def aclose(self) -> None:
        """Wait until what cancelled callers were granted has been given back."""
        await self._returns.finish()

    async def _decide(self, course: Course, owner: str, charges: Sequence[Charge]) -> Decision:
        try:
            decision: Decision = await self._driver.follow(course)
        except asyncio.CancelledError:
            self._returns.add(owner, charges)
            raise
        return decision
