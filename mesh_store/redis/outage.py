"""What answers when Redis cannot: each limit's own policy, all of them or none.

========== ===========================================================================================
``closed`` refuses with `QuotaUnavailable`; budgets always
``open``   admits
``share``  admits from this process' share of the limit, ``amount / live processes``, spent from a local
           bucket that is empty at the switch: all shares together admit at most ``amount`` a period
========== ===========================================================================================

A share is a rate limit of its own (`mesh_store.model.gcra`) on monotonic time. For soft limits its
burst grows to what the largest call needs, or a large fleet could never spend tokens. A hard limit
is divided in whole units, each share hard in turn: at most ``amount`` in *every* period. So are slots:
nobody tells this process when a call ended, so each is held for a whole lease, and none is given before
those of the time before the switch have ended.

What was admitted so is settled like any call once Redis is back: rates know nothing of it, budgets
count it, and a grant whose reply was lost is trued up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mesh_store.model import gcra
from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.forking import forkable_lock
from mesh_store.model.limits import Charge, Decision, Limit, Reservation

#: How many limits' shares are remembered; the rest are refused until Redis is back.
MOST_SHARES = 65_536


@dataclass(slots=True)
class _Share:
    """What this process may take of one limit."""

    rate: gcra.Rate
    debt: gcra.Debt


class _Away(NamedTuple):
    """A server that cannot decide: since when, and what this process may take of its limits."""

    since_us: int
    shares: dict[str, _Share]


class OutagePolicy:
    """Decides while Redis cannot.

    Args:
        clients: how many processes share the limits, this one included; None while not known.
        clock_us: monotonic microseconds.

    Attributes:
        admitted: how many calls were admitted without Redis.
        refused: how many were refused because a limit could not be checked.
    """

    def __init__(
        self,
        clients: Callable[[], int | None] = lambda: None,
        *,
        clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1_000,
    ) -> None:
        self.clients, self._clock_us = clients, clock_us
        self.admitted = self.refused = 0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = forkable_lock()
        self._away: dict[str, _Away] = {}

    def recovered(self, server: str = "") -> None:
        """Forget the shares of a server's limits: it decides again, and its next outage starts with nothing.

        Args:
            server: which, where limits are spread over several.
        """
        if server in self._away:
            with self._lock:
                self._away.pop(server, None)

    def decide(
        self,
        charges: Sequence[Charge],
        reservation_id: str,
        ttl_us: int,
        error: QuotaUnavailable,
        servers: Sequence[str] = (),
    ) -> Decision:
        """Admit the charges, each allowed by its own policy, or refuse them.

        Args:
            charges: what no server could decide.
            reservation_id: under which the call is settled.
            ttl_us: how long its reservation waits for that.
            error: why it could not be decided.
            servers: which server holds each charge's limit, where there are several.

        Raises:
            QuotaUnavailable: names the policy that refuses, and when to come back.
        """
        if self._pid != os.getpid():
            # A forked child is another process: the parent's shares are not its own.
            self._begin()
        with self._lock:
            now = self._clock_us()
            held = servers or ("",) * len(charges)
            for server in held:
                self._away.setdefault(server, _Away(now, {}))
            # Who is kept apart needs no answer: shares are few enough by themselves.
            asked = [
                (charge, self._away[server])
                for charge, server in zip(charges, held, strict=True)
                if charge.enforce and charge.limit.on_outage != "open" and charge.limit.kind != "distinct"
            ]
            self._take(asked, now, error)
            self.admitted += 1
        return _admitted(charges, reservation_id, ttl_us)

    def _take(self, asked: Sequence[tuple[Charge, _Away]], now: int, error: QuotaUnavailable) -> None:
        """Take each charge from this process's share of its limit, or none."""
        taken: list[tuple[_Share, gcra.Debt]] = []
        for charge, away in asked:
            share = self._share(charge, away, now, error)
            debt, wait = gcra.take(share.debt, charge.amount)
            if wait != 0:
                raise self._refusal("this process' share of a limit is used up", wait, error)
            taken.append((share, debt))
        for share, debt in taken:
            share.debt = debt

    def _share(self, charge: Charge, away: _Away, now: int, error: QuotaUnavailable) -> _Share:
        limit, clients = charge.limit, self.clients()
        if limit.on_outage == "closed" or limit.kind == "window":
            raise self._refusal("a limit is closed while it cannot be checked", None, error)
        if clients is None:
            raise self._refusal("how many processes share a limit was never heard", None, error)
        share = away.shares.get(charge.key)
        needed = charge.amount if share is None else max(share.rate.burst, charge.amount)
        try:
            rate = gcra.rate_of(shared(limit, clients, needed))
        except ValueError:  # too slow to be counted exactly in so many parts
            raise self._refusal("a limit is too small to be shared", None, error) from error
        if share is None:
            if len(away.shares) >= MOST_SHARES:
                raise self._refusal("too many limits are shared at once", None, error)
            held_us = limit.period_us if limit.kind == "slots" else 0
            share = away.shares[charge.key] = _Share(rate, _empty(rate, away.since_us, held_us))
        elif rate != share.rate:
            # A larger call, or another count: what fits at once changes, what is there does not grow.
            share.debt = _carried(share.debt, rate, now)
            share.rate = rate
        share.debt = gcra.drain(share.debt, rate, now)
        return share

    def _refusal(self, why: str, wait_us: int | None, error: QuotaUnavailable) -> QuotaUnavailable:
        self.refused += 1
        after = error.retry_after if wait_us is None else wait_us / 1e6
        refusal = QuotaUnavailable(f"{why}: {error}", retry_after=after, asked=error.asked)
        refusal.__cause__ = error
        return refusal


def shared(limit: Limit, clients: int, needed: int) -> Limit:
    """Return one process' share of a limit, as a rate limit.

    Args:
        limit: a rate or slots limit.
        clients: how many processes share it.
        needed: units the largest call so far takes.
    """
    if limit.hard or limit.kind == "slots":
        part = limit.amount // clients
        if part < 2:
            return Limit(amount=part, burst=part, period_us=limit.period_us, hard=part == 1)
        most = limit.burst // clients if limit.hard else 1
        burst = max(1, min(max(most, needed), part // 2))
        return Limit(amount=part, burst=burst, period_us=limit.period_us, hard=True)
    if limit.amount == 0:
        return Limit(amount=0, period_us=limit.period_us)
    burst = max(1, limit.burst // clients, min(needed, limit.burst))
    return Limit(amount=limit.amount, burst=burst, period_us=limit.period_us * clients)


def _empty(rate: gcra.Rate, since_us: int, held_us: int = 0) -> gcra.Debt:
    """Return the debt of a bucket that had nothing in it, and for a while gets nothing."""
    return gcra.Debt(since_us, rate.tau + held_us, rate.tau_rem, rate)


def _carried(debt: gcra.Debt, after: gcra.Rate, now: int) -> gcra.Debt:
    """Carry a debt to a share of another size: the units there are stay what they are."""
    held = gcra.drain(debt, debt.rate, now)
    left = gcra.units_left(held.rate, held.micros, held.rem)
    return gcra.give(_empty(after, now, max(0, held.micros - held.rate.tau)), min(left, after.burst))


def _admitted(charges: Sequence[Charge], reservation_id: str, ttl_us: int) -> Decision:
    now = time.time_ns() // 1_000
    nothing = (0,) * len(charges)
    return Decision(
        admitted=True,
        remaining=nothing,
        retry_after_us=0,
        reset_after_us=nothing,
        reservation=Reservation(reservation_id, tuple(charges), now, now + ttl_us),
        enforced=False,
    )
