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
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

from mesh_store.model.limits import Charge, Decision, Reservation
from mesh_store.redis import protocol, scripts, wire
from mesh_store.redis.failures import FAILURES, may_have_lost_a_reply, translate
from mesh_store.redis.protocol import RECORD_LIFETIME_US, Calling, Course, Orphaned, Step, mint_id

_RAW: dict[str, Any] = {NEVER_DECODE: []}


def _ignore(reservation_id: str, charges: Sequence[Charge]) -> None:
    """Leave orphans to decay; `Mesh` puts a cancel into its ring instead."""


class Limiter:
    """Decides charges for threads.

    Args:
        client: a client made by `connect`, or any `redis.Redis`.
        orphaned: told of charges that may stand without a reservation, because no reply came.
    """

    def __init__(self, client: redis.Redis, *, orphaned: Orphaned = _ignore) -> None:
        self._client = client
        self._orphaned = orphaned

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
        course = protocol.reserve(
            charges,
            reservation_id or mint_id(),
            max_wait_us=max_wait_us,
            ttl_us=ttl_us,
            now_us=now_us,
            orphaned=self._orphaned,
        )
        decision: Decision = self._follow(course)
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
        applied: list[bool] = self._follow(protocol.settle(settlements, now_us=now_us))
        return applied

    def cancel(self, reservation_id: str, charges: Sequence[Charge], *, now_us: int = 0) -> bool:
        """Give everything back; for a minute the id is refused should its reserve come late.

        Returns:
            True when something was open under the id.
        """
        applied: bool = self._follow(protocol.cancel(reservation_id, charges, now_us=now_us))
        return applied

    def peek(self, charges: Sequence[Charge], *, now_us: int = 0) -> Decision:
        """Say what `reserve` would answer now, changing nothing."""
        decision: Decision = self._follow(protocol.peek(charges, now_us=now_us))
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
        course = protocol.at_most(
            charge, reservation_id or mint_id(), ttl_us=ttl_us, now_us=now_us, orphaned=self._orphaned
        )
        decision: Decision = self._follow(course)
        return decision

    def _follow(self, course: Course) -> Any:
        try:
            steps = next(course)
            while True:
                steps = course.send([self._perform(step) for step in steps])
        except StopIteration as end:
            return end.value

    def _perform(self, step: Step) -> Any:
        try:
            if isinstance(step, Calling):
                return self._call(step)
            reply = self._call(Calling(scripts.RESERVE, *wire.pack_reserve([step.ask], step.now_us)))
            return wire.read_reserve(reply, [step.ask])[0]
        except FAILURES as error:
            return translate(error, "decide")

    def _call(self, call: Calling) -> bytes:
        try:
            return self._call_once(call)
        except FAILURES as error:
            if not may_have_lost_a_reply(error):
                raise
        return self._call_once(call)

    def _call_once(self, call: Calling) -> bytes:
        tail = (len(call.keys), *call.keys, call.argument)
        try:
            reply = self._client.execute_command("EVALSHA", call.script.sha, *tail, **_RAW)  # type: ignore[no-untyped-call]
        except NoScriptError:
            reply = self._client.execute_command("EVAL", call.script.source, *tail, **_RAW)  # type: ignore[no-untyped-call]
        assert isinstance(reply, bytes)
        return reply


class AsyncLimiter:
    """Decides charges for one event loop; methods and arguments are `Limiter`'s."""

    def __init__(self, client: redis.asyncio.Redis, *, orphaned: Orphaned = _ignore) -> None:
        self._client = client
        self._orphaned = orphaned

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
        course = protocol.reserve(
            charges,
            reservation_id or mint_id(),
            max_wait_us=max_wait_us,
            ttl_us=ttl_us,
            now_us=now_us,
            orphaned=self._orphaned,
        )
        decision: Decision = await self._follow(course)
        return decision

    async def settle(self, reservation: Reservation, deltas: Sequence[int] = (), *, now_us: int = 0) -> bool:
        """True a reservation up; see `Limiter.settle`."""
        return (await self.settle_all([(reservation, deltas)], now_us=now_us))[0]

    async def settle_all(
        self, settlements: Sequence[tuple[Reservation, Sequence[int]]], *, now_us: int = 0
    ) -> list[bool]:
        """Settle many reservations in as few calls as their tags allow."""
        applied: list[bool] = await self._follow(protocol.settle(settlements, now_us=now_us))
        return applied

    async def cancel(self, reservation_id: str, charges: Sequence[Charge], *, now_us: int = 0) -> bool:
        """Give everything back; see `Limiter.cancel`."""
        applied: bool = await self._follow(protocol.cancel(reservation_id, charges, now_us=now_us))
        return applied

    async def peek(self, charges: Sequence[Charge], *, now_us: int = 0) -> Decision:
        """Say what `reserve` would answer now, changing nothing."""
        decision: Decision = await self._follow(protocol.peek(charges, now_us=now_us))
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
        course = protocol.at_most(
            charge, reservation_id or mint_id(), ttl_us=ttl_us, now_us=now_us, orphaned=self._orphaned
        )
        decision: Decision = await self._follow(course)
        return decision

    async def _follow(self, course: Course) -> Any:
        try:
            steps = next(course)
            while True:
                if len(steps) == 1:
                    results = [await self._perform(steps[0])]
                else:
                    results = await asyncio.gather(*map(self._perform, steps))
                steps = course.send(results)
        except StopIteration as end:
            return end.value

    async def _perform(self, step: Step) -> Any:
        try:
            if isinstance(step, Calling):
                return await self._call(step)
            reply = await self._call(Calling(scripts.RESERVE, *wire.pack_reserve([step.ask], step.now_us)))
            return wire.read_reserve(reply, [step.ask])[0]
        except FAILURES as error:
            return translate(error, "decide")

    async def _call(self, call: Calling) -> bytes:
        try:
            return await self._call_once(call)
        except FAILURES as error:
            if not may_have_lost_a_reply(error):
                raise
        return await self._call_once(call)

    async def _call_once(self, call: Calling) -> bytes:
        tail = (len(call.keys), *call.keys, call.argument)
        try:
            reply = await self._client.execute_command("EVALSHA", call.script.sha, *tail, **_RAW)  # type: ignore[no-untyped-call]
        except NoScriptError:
            reply = await self._client.execute_command("EVAL", call.script.source, *tail, **_RAW)  # type: ignore[no-untyped-call]
        assert isinstance(reply, bytes)
        return reply
