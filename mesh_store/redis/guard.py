"""Limiters that answer also while Redis cannot: a breaker before each server, each limit's policy behind it.

Where limits are spread over several servers, one that is away leaves those on the others as they are.
Only an outage is answered by policy. A wrong password, a missing permission or foreign data
(`ConfigError`) never opens a limit, and neither does a reservation that was cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import redis
import redis.asyncio

from mesh_store.model.errors import ConfigError, MeshError, QuotaUnavailable
from mesh_store.model.limits import Charge, Decision
from mesh_store.redis.asks import Ask
from mesh_store.redis.breaker import Breaker, State
from mesh_store.redis.keys import hash_tag
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.limiter import AsyncLimiter, Limiter
from mesh_store.redis.outage import OutagePolicy
from mesh_store.redis.reserving import RECORD_LIFETIME_US
from mesh_store.redis.steps import Orphaned, mint_id
from mesh_store.redis.watching import Circuit, Watch

#: How long a refusal waits for what this process's own leases held of the limit, seconds.
RETURN_S = 1.0
#: How many ids are remembered that something may be charged under; each is looked up at once.
MOST_UNHEARD = 1_024


class _Options(TypedDict):
    max_wait_us: int
    ttl_us: int
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsHealth:
    """How deciding about limits does in this process.

    Attributes:
        state: ``closed`` asks Redis, ``open`` does not for a while, ``probing`` waits for one answer; where
            there are several servers, of the one that does worst.
        failures: how often Redis could not decide.
        opened: how often the breaker opened.
        skipped: how often Redis was not asked because it was open.
        admitted_unenforced: calls admitted by the policies of their limits.
        refused_unchecked: calls refused because a limit could not be checked.
        clients: live processes that share the limits, as last heard; None while not known.
        last_error: the newest failure, or None.
    """

    state: State
    failures: int
    opened: int
    skipped: int
    admitted_unenforced: int
    refused_unchecked: int
    clients: int | None
    last_error: str | None


class Guard:
    """What the limiters of one process share: the breaker and the policies.

    Args:
        breaker: says whether to ask; others like it are made for further servers.
        policy: decides when Redis cannot.
        leases: slices that calls draw from before anybody is asked.
        flush: has what was written down settled within so many seconds; True when it did.
        cancel: writes down that an id is to be cancelled: part of what was refused may be charged under it.
    """

    def __init__(
        self,
        breaker: Breaker,
        policy: OutagePolicy,
        leases: LeaseBook | None = None,
        flush: Callable[[float], bool] = lambda timeout_s: False,
        cancel: Orphaned = lambda reservation_id, charges: None,
    ) -> None:
        self.breaker, self.policy, self.leases, self.flush = breaker, policy, leases, flush
        self._breakers = {"": breaker}
        self._cancel = cancel
        self._unheard: deque[str] = deque(maxlen=MOST_UNHEARD)

    def draw(self, charges: Sequence[Charge], reservation_id: str, ttl_us: int) -> Decision | None:
        """Return the decision of a lease this process holds; None when there is none for it."""
        drawn = self.leases.draw(charges, reservation_id, ttl_us) if self.leases else None
        return cast("Decision | None", drawn)

    def unheard(self, reservation_id: str, charges: Sequence[Charge]) -> None:
        """Note that something may be charged under an id: no reply said."""
        self._unheard.append(reservation_id)

    def again(self, charges: Sequence[Charge], decision: Decision) -> bool:
        """Tell whether to ask once more: what refused is also held here unspent, and on its way back now.

        Under the same id only where the first tag refused: it was not granted, so it was not cancelled.
        """
        if decision.admitted or decision.binding is None or self.leases is None:
            return False
        key = charges[decision.binding].key
        return self.leases.give_back(key) and hash_tag(key) == hash_tag(charges[0].key)

    def breaker_of(self, server: str) -> Breaker:
        """Return the breaker before a server; ``""`` is the only one, or one nobody knows the name of."""
        breaker = self._breakers.get(server)
        if breaker is None:
            breaker = self._breakers.setdefault(server, self.breaker.another())
        return breaker

    def decided(self, charges: Sequence[Charge], reservation_id: str, decision: Decision) -> None:
        """Note Redis' decision; of a refusal, what could not be given back at once is written down.

        Only of refusals: whoever gets an error cancels the id, and what a policy admits is trued up.
        """
        if not decision.admitted and reservation_id in self._unheard:
            self._cancel(reservation_id, charges)

    def undecided(self) -> None:
        """Let the next caller probe: this one did not wait for the answer."""
        for breaker in list(self._breakers.values()):
            breaker.given_up()

    def health(self) -> LimitsHealth:
        """Return the counters."""
        breakers, policy = list(self._breakers.values()), self.policy
        states = {breaker.state for breaker in breakers}
        failed = max(breakers, key=lambda breaker: breaker.failed_at)
        return LimitsHealth(
            state="open" if "open" in states else "probing" if "probing" in states else "closed",
            failures=sum(breaker.failures for breaker in breakers),
            opened=sum(breaker.opened for breaker in breakers),
            skipped=sum(breaker.skipped for breaker in breakers),
            admitted_unenforced=policy.admitted,
            refused_unchecked=policy.refused,
            clients=policy.clients(),
            last_error=failed.last_error,
        )


class _Circuit(Circuit):
    """The way to one server, behind its breaker."""

    def __init__(self, guard: Guard, name: str) -> None:
        self.name = name
        self._breaker, self._policy = guard.breaker_of(name), guard.policy

    def shut(self) -> QuotaUnavailable | None:
        breaker = self._breaker
        if breaker.may_ask():
            return None
        return QuotaUnavailable(
            f"Redis is not asked for a moment, because it could not decide: {breaker.last_error}",
            retry_after=max(0.001, breaker.retry_after_s),
            asked=False,
        )

    def heard(self, result: Any) -> None:
        if isinstance(result, QuotaUnavailable):
            self._breaker.failed(result)
            return
        self._breaker.answered()
        if not isinstance(result, ConfigError):
            self._policy.recovered(self.name)


class _Watch(Watch):
    """Surrounds the decisions of a limiter with what its process shares.

    Args:
        guard: what that is.
        client: says who holds a hash tag, where several servers do.
    """

    def __init__(self, guard: Guard, client: object) -> None:
        super().__init__(guard.unheard)
        self._guard = guard
        self._holder: Callable[[str], str] | None = getattr(client, "holder", None)
        self._only = _Circuit(guard, "")
        self._circuits: dict[str, _Circuit] = {"": self._only}

    def circuit(self, tag: str) -> Circuit:
        if self._holder is None:
            return self._only
        name = self._holder(tag)
        found = self._circuits.get(name)
        if found is None:
            found = self._circuits.setdefault(name, _Circuit(self._guard, name))
        return found

    def instead(self, asks: Sequence[Ask], error: QuotaUnavailable) -> Decision:
        guard, owner = self._guard, asks[0].id
        placed = {place: self.circuit(ask.part.tag).name for ask in asks for place in ask.part.positions}
        charges = [asks[0].charges[place] for place in sorted(placed)]
        servers = [placed[place] for place in sorted(placed)]
        decision = guard.policy.decide(charges, owner, asks[0].lifetime_ms * 1000, error, servers)
        if guard.leases is not None:
            guard.leases.unbacked(owner)
        return decision


class GuardedLimiter(Limiter):
    """A `Limiter` that answers also while Redis cannot."""

    def __init__(self, client: redis.Redis, guard: Guard) -> None:
        super().__init__(client, orphaned=guard.unheard)
        self._guard, self._watch = guard, _Watch(guard, client)

    def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take all charges or none; see `Limiter.reserve`."""
        owner, guard = reservation_id or mint_id(), self._guard
        drawn = guard.draw(charges, owner, ttl_us)
        if drawn is not None:
            return drawn
        options: _Options = {"max_wait_us": max_wait_us, "ttl_us": ttl_us, "now_us": now_us}
        try:
            decision = super().reserve(charges, reservation_id=owner, **options)
            if guard.again(charges, decision) and guard.flush(RETURN_S):
                decision = super().reserve(charges, reservation_id=owner, **options)
        except MeshError:
            raise
        except BaseException:
            guard.undecided()
            raise
        guard.decided(charges, owner, decision)
        return decision


class GuardedAsyncLimiter(AsyncLimiter):
    """An `AsyncLimiter` that answers also while Redis cannot."""

    def __init__(self, client: redis.asyncio.Redis, guard: Guard) -> None:
        super().__init__(client, orphaned=guard.unheard)
        self._guard, self._watch = guard, _Watch(guard, client)

    async def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = RECORD_LIFETIME_US,
        now_us: int = 0,
    ) -> Decision:
        """Take all charges or none; see `Limiter.reserve`."""
        owner, guard = reservation_id or mint_id(), self._guard
        drawn = guard.draw(charges, owner, ttl_us)
        if drawn is not None:
            return drawn
        options: _Options = {"max_wait_us": max_wait_us, "ttl_us": ttl_us, "now_us": now_us}
        try:
            decision = await super().reserve(charges, reservation_id=owner, **options)
            if guard.again(charges, decision) and await asyncio.to_thread(guard.flush, RETURN_S):
                decision = await super().reserve(charges, reservation_id=owner, **options)
        except MeshError:
            raise
        except BaseException:
            guard.undecided()
            raise
        guard.decided(charges, owner, decision)
        return decision
