"""Around the one wait before a provider is asked: what to say when a limit refuses, what to remember.

The waiting itself is two lines in the drivers; everything here is plain.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from msgspec.structs import replace

from mesh_plugins.core.call import CallRequest, Plan, Reservation, is_of_target, takes_budget
from mesh_plugins.core.denials import Denials
from mesh_plugins.core.fact_of import lost_fact
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.plan import without_first
from mesh_plugins.core.ports import RecorderPort
from mesh_store.model.errors import BudgetExceeded, MeshError, QuotaExceeded
from mesh_store.model.facts import Asked, Cancel, Fact, Intent
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import SEEDING_US, Decision
from mesh_store.model.money import format_usd
from mesh_store.model.snapshot import LimitRule

#: A reservation's record outlives the deadline by this: time for a dead process's ring to be drained.
DRAIN_US = 3_600_000_000

#: How long a refusal by slots waits for this process's own ended calls to be settled, seconds.
SLOTS_FLUSH_S = 1.0
#: How often a caller that waits asks whether a budget's window was counted, seconds.
SEEDING_POLL_S = 0.1
#: What a refusal by slots advises: nobody knows when a running call ends, seconds.
SLOTS_RETRY_S = 1.0


def granted(plan: Plan, decision: Decision | None) -> Reservation:
    """Make the reservation of an admitted plan; from here on every way out ends in a settlement."""
    return Reservation(
        plan, decision, decision.reservation if decision else None, new_id(), time.monotonic_ns()
    )


def intent_of(reservation: Reservation, hooks: Hooks, target: int = 0, attempt: int = 1) -> Intent:
    """Return what is true if this process dies in that attempt; the newest intent of a call holds.

    Plugins redact this fact, too: it is written down now, and whoever drains the ring has no plugins.
    """
    deadline_us = now_us() + reservation.plan.timeout_us
    lost: Fact = hooks.fact.fold("fact", lost_fact(reservation, target, attempt), receipt=None)
    if lost.id != reservation.lost_id:  # what ends the call names it
        lost = replace(lost, id=reservation.lost_id)
    return Intent(lost, reservation.record, deadline_us, tuple(reservation.extensions))


def refusal(plan: Plan, decision: Decision) -> QuotaExceeded:
    """Return the error of a refused plan: which limit, whose, how much is left, when to come back."""
    index = decision.binding if decision.binding is not None else 0
    rule, charge = plan.rules[index], plan.charges[index]
    remaining = decision.remaining[index]
    retry_after = None if decision.retry_after_us is None else decision.retry_after_us / 1e6
    if retry_after is not None and rule.limit.kind == "slots":
        # A lease's end is when a slot comes back if its holder was killed; calls end sooner.
        retry_after = min(retry_after, SLOTS_RETRY_S)
    if retry_after is None:
        most = _units(rule, rule.limit.burst)
        advice = f"one call may take at most {most} of it: ask for less or raise its burst"
    else:
        advice = f"retry after {retry_after:.3g} s"
    if rule.limit.kind == "distinct":
        why = "were seen, and no more are kept apart;"
    elif _unseeded(rule, decision, index):
        why = "cannot be checked: no collector has counted this window yet; is `mesh collect` running?"
    else:
        why = f"has {_units(rule, remaining)} left, this call needs {_units(rule, charge.amount)};"
    message = f"{rule.label}: the limit {rule.text!r} {why} {advice}"
    kind = BudgetExceeded if rule.dimension == "usd" else QuotaExceeded
    return kind(
        message,
        limit=rule.text,
        subject=rule.label,
        requested=1 if rule.limit.kind == "distinct" else charge.amount,
        remaining=remaining,
        retry_after=retry_after,
        headroom={
            f"{rule.label}: {rule.text}": left
            for place, (rule, left) in enumerate(zip(plan.rules, decision.remaining, strict=False))
            if place not in decision.unseen
        },
    )


def next_with_room(plan: Plan, decision: Decision) -> int:
    """Return the index of the first other target whose limits all have room, 0 when there is none."""
    left = dict(zip([rule.id for rule in plan.rules], decision.remaining, strict=False))
    ours = {rule.id: is_of_target(rule) for rule in plan.rules}
    for rule, charge in zip(plan.rules, plan.charges, strict=True):
        if rule.enforce and not ours[rule.id] and left.get(rule.id, 0) < charge.amount:
            return 0
    for index, needs in enumerate(plan.needs):
        if index and all(
            left.get(rule_id, 0) >= need.amount
            for rule_id, need in needs.items()
            if ours[rule_id] and need.enforce
        ):
            return index
    return 0


def unseeded(plan: Plan, decision: Decision) -> bool:
    """Tell whether a plan was refused only until a collector has counted a budget's window."""
    index = decision.binding
    return index is not None and _unseeded(plan.rules[index], decision, index)


def _unseeded(rule: LimitRule, decision: Decision, index: int) -> bool:
    """Tell whether a budget refuses because its window was never counted, not because it is spent."""
    waits = (decision.retry_after_us, decision.reset_after_us[index])
    return rule.limit.kind == "window" and waits == (SEEDING_US, SEEDING_US)


def _units(rule: LimitRule, amount: int) -> str:
    if rule.dimension == "usd":
        return format_usd(amount)
    noun = "slots" if rule.dimension == "concurrency" else rule.dimension.replace("_", " ")
    return f"{amount:,} {noun.removesuffix('s') if amount == 1 else noun}"


class Refused(Protocol):
    """Writes the fact of a refused call."""

    def __call__(
        self,
        request: CallRequest,
        revision: int,
        error: MeshError,
        plan: Plan | None = None,
        asked: str | None = None,
    ) -> None:
        """``asked`` is the id that was `Asked` under; nothing is held under it."""


class Asking:
    """One question to the limiter; whatever keeps its answer from being read gives the charges back.

    A context manager around the wait: cancelled, timed out or failed, the reservation id goes into the
    ring as a `Cancel`, because the server may have granted what nobody heard. Where a budget is asked, the
    question itself was written down before (`Asked`): a process killed in between would hold the estimate
    for as long as the budget's window. A refusal, and a limit that could not be checked, are written down
    as facts.

    Attributes:
        arguments: what the limiter is asked.
        done: somebody else answers for the charges, or there are none.
    """

    __slots__ = (
        "_asked",
        "_denials",
        "_plan",
        "_recorder",
        "_refused",
        "_until_ns",
        "_whole",
        "arguments",
        "done",
    )

    def __init__(
        self,
        recorder: RecorderPort,
        denials: Denials,
        plan: Plan,
        refused: Refused,
    ) -> None:
        self._recorder, self._denials, self._plan, self._refused = recorder, denials, plan, refused
        self._whole = plan
        self.done = False
        self._asked: str | None = None
        self._until_ns = time.monotonic_ns() + plan.request.max_wait_us * 1_000
        # Where another target may have room at once, nothing is booked on the first.
        elsewhere = len(plan.targets) > 1 and any(map(is_of_target, plan.rules))
        self._ask(plan, 0 if elsewhere else plan.request.max_wait_us)

    def _ask(self, plan: Plan, max_wait_us: int) -> None:
        """Ask for a plan under a new id: a refusal may have left a tombstone under the last one."""
        self._plan, owner = plan, new_id()
        self.arguments: dict[str, Any] = {
            "charges": plan.charges,
            "reservation_id": owner,
            "max_wait_us": max_wait_us,
            "ttl_us": plan.request.max_wait_us + plan.timeout_us + DRAIN_US,
        }
        if takes_budget(plan.charges):
            self._recorder.asked(Asked(owner, plan.charges, self._asked or ""))
            self._asked = owner

    def again(self, decision: Decision) -> float | None:
        """Return the seconds after which to ask once more for what was refused, or None to take it as it is.

        A target whose own limits are full is passed over for the next one that has room. Who is willing
        to wait waits for the first target when none has room, and while a budget's window is being counted.
        """
        if decision.admitted:
            return None
        if self._plan is self._whole and (skipped := next_with_room(self._plan, decision)):
            self._ask(without_first(self._plan, skipped), 0)
            return 0.0
        left_us = (self._until_ns - time.monotonic_ns()) // 1_000
        if left_us <= 0:
            return None
        if unseeded(self._plan, decision):
            self._ask(self._plan, min(left_us, self.arguments["max_wait_us"]))
            return min(SEEDING_POLL_S, left_us / 1e6)
        if self.arguments["max_wait_us"] == 0:
            self._ask(self._whole, left_us)
            return 0.0
        return None

    def own_slots_may_free(self, decision: Decision) -> bool:
        """Tell whether this was refused by slots that calls of this very process may just have left.

        A slot is free once the call's settlement reached Redis, milliseconds after the call returned: a
        caller making one call after another would be refused its own slot. Worth one more question after
        what has ended here is settled.
        """
        if decision.admitted or decision.binding is None:
            return False
        if self._plan.rules[decision.binding].limit.kind != "slots":
            return False
        self._ask(self._plan, self.arguments["max_wait_us"])
        return True

    def answered(self, decision: Decision) -> Reservation:
        """Return the reservation of a granted plan.

        Raises:
            QuotaExceeded: the plan was refused.
        """
        self.done = not decision.admitted
        if decision.admitted:
            held = decision.reservation
            if self._asked and (held is None or held.id != self._asked):
                # A limiter of somebody's own that keeps other ids: no intent will end this one.
                self._recorder.cancel(Cancel(self._asked, self._plan.charges))
            return granted(self._plan, decision)
        error = refusal(self._plan, decision)
        if len(self._whole.targets) == 1 or not is_of_target(self._plan.rules[decision.binding or 0]):
            # A target that had no room says nothing about the others a moment later.
            self._denials.remember(self._plan, decision, error)
        raise error

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if not self.done and getattr(error, "asked", True):
            self._recorder.cancel(Cancel(self.arguments["reservation_id"], self._plan.charges))
        if isinstance(error, MeshError):
            self._refused(self._plan.request, self._plan.snapshot.revision, error, self._plan, self._asked)
