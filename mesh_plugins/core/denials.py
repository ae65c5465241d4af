"""Refusals that still hold: a toolkit that retries blindly is refused again without asking Redis.

A refusal is remembered per key and alias for as long as it surely holds: while the binding limit
cannot have refilled, nothing was given back to it, and the configuration is the same. Requests are
given back only by cancelled calls, so their refusals hold until the limit refills, a second at most;
tokens and money come back with every settlement, so theirs hold for 50 ms; a slot may be free the next
moment, so nothing is remembered of slots, nor of who is kept apart. The repeated
refusal is the same error with what is left of its wait; it takes nothing and writes no second fact.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from mesh_plugins.core.call import Plan
from mesh_store.model.errors import BudgetExceeded, QuotaExceeded
from mesh_store.model.limits import Decision

#: Seconds a refusal holds at the most, by what binds.
_HOLD_REQUESTS_S, _HOLD_S = 1.0, 0.05
#: How many refusals are remembered.
_MOST = 4_096


@dataclass(slots=True, frozen=True)
class _Refused:
    """A refusal: the charge that bound, by how much, until when (monotonic nanoseconds)."""

    revision: tuple[int, int]
    charge_key: str
    amount: int
    error: QuotaExceeded
    at_ns: int
    until_ns: int


class Denials:
    """What was refused a moment ago in this process.

    Args:
        now_ns: the clock, nanoseconds; None is the monotonic one.
    """

    def __init__(self, now_ns: Callable[[], int] | None = None) -> None:
        self._now_ns = now_ns or _monotonic_ns
        self._refused: OrderedDict[tuple[str, str], _Refused] = OrderedDict()

    def remember(self, plan: Plan, decision: Decision, error: QuotaExceeded) -> None:
        """Note a refusal."""
        if decision.binding is None or plan.request.max_wait_us:
            return
        rule, charge = plan.rules[decision.binding], plan.charges[decision.binding]
        if rule.limit.kind in ("slots", "distinct"):
            return
        hold_s = _HOLD_REQUESTS_S if rule.dimension == "requests" else _HOLD_S
        if error.retry_after is not None:
            hold_s = min(hold_s, error.retry_after)
        now = self._now_ns()
        name = (plan.request.principal.id, plan.request.alias)
        until = now + int(hold_s * 1e9)
        self._refused[name] = _Refused(_revision(plan), charge.key, charge.amount, error, now, until)
        self._refused.move_to_end(name)
        while len(self._refused) > _MOST:
            self._refused.popitem(last=False)

    def standing(self, plan: Plan) -> QuotaExceeded | None:
        """Return the refusal of a plan that would certainly be refused again, or None."""
        if not self._refused:
            return None
        name = (plan.request.principal.id, plan.request.alias)
        refused = self._refused.get(name)
        if refused is None or plan.request.max_wait_us:
            return None
        now = self._now_ns()
        if now >= refused.until_ns or refused.revision != _revision(plan):
            self._refused.pop(name, None)
            return None
        asked = next((charge.amount for charge in plan.charges if charge.key == refused.charge_key), None)
        if asked is None or asked < refused.amount:
            return None
        return _again(refused.error, (now - refused.at_ns) / 1e9)


def _monotonic_ns() -> int:
    return time.monotonic_ns()


def _revision(plan: Plan) -> tuple[int, int]:
    """Of the configuration, and of the key, whose limits come with it."""
    return plan.snapshot.revision, plan.request.principal.revision


def _again(error: QuotaExceeded, passed_s: float) -> QuotaExceeded:
    kind = BudgetExceeded if isinstance(error, BudgetExceeded) else QuotaExceeded
    return kind(
        str(error),
        limit=error.limit,
        subject=error.subject,
        requested=error.requested,
        remaining=error.remaining,
        retry_after=None if error.retry_after is None else max(0.0, error.retry_after - passed_s),
        headroom=error.headroom,
    )
