"""More for the same call: what a fallback needs beyond what was reserved, charged before it is sent.

A reservation covers the first target. A further attempt may need more: the limits of another provider,
or room that a failed attempt was billed for. What is missing is reserved on top, all or nothing; a
refusal passes over that target. At the end each limit's actual fills what was reserved first, and the
last one granted takes the rest, so that the parts add up to what the call really took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mesh_plugins.core.call import Reservation, is_of_target, takes_budget
from mesh_plugins.core.ports import RecorderPort
from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.facts import Asked, Cancel, Settlement
from mesh_store.model.ids import new_id
from mesh_store.model.limits import Charge, Decision
from mesh_store.model.snapshot import LimitRule


def missing(reservation: Reservation, target: int, taken: Sequence[int]) -> tuple[Charge, ...]:
    """Return what has to be reserved on top before a target is tried.

    Args:
        reservation: what was granted so far.
        target: index of the target to try next.
        taken: what the attempts so far took, one amount per rule of the plan.
    """
    if reservation.record is None:
        return ()
    plan, held = reservation.plan, _held(reservation)
    lacking = []
    for rule, amount in zip(plan.rules, taken, strict=True):
        need = plan.needs[target].get(rule.id)
        if need is None:
            continue
        # One call is one request and one slot of its caller, however many attempts it makes.
        spent = 0 if _once(rule) else amount
        short = spent + need.amount - held.get(need.key, 0)
        if short > 0:
            lacking.append(msgspec.structs.replace(need, amount=short))
    return tuple(lacking)


class Extending:
    """One question for more; what may have been granted unheard is given back.

    A context manager around the wait. A limit that could not be checked passes the target over like one
    that refused: the call has failed once already, and its own failure says more.

    Attributes:
        arguments: what the limiter is asked.
    """

    __slots__ = ("_answered", "_asked", "_recorder", "_reservation", "arguments")

    def __init__(
        self, recorder: RecorderPort, reservation: Reservation, charges: tuple[Charge, ...], ttl_us: int
    ) -> None:
        self._recorder, self._reservation, self._answered = recorder, reservation, False
        owner = new_id()
        self.arguments: dict[str, Any] = {"charges": charges, "reservation_id": owner, "ttl_us": ttl_us}
        self._asked = takes_budget(charges)
        if self._asked:
            recorder.asked(Asked(owner, charges))

    def granted(self, decision: Decision) -> bool:
        """Note the answer; tell whether the target may be tried."""
        self._answered = True
        if decision.admitted and decision.reservation is not None:
            self._reservation.extensions.append(decision.reservation)
        elif self._asked:
            self._cancel()
        return decision.admitted

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is not None and not self._answered and (self._asked or getattr(error, "asked", True)):
            self._cancel()
        return isinstance(error, QuotaUnavailable)

    def _cancel(self) -> None:
        self._recorder.cancel(Cancel(self.arguments["reservation_id"], self.arguments["charges"]))


def settlements(reservation: Reservation, actual: Sequence[int]) -> list[Settlement]:
    """Return what each part of a reservation really took: the first reserved first, then the extensions."""
    assert reservation.record is not None
    if not reservation.extensions:
        return [Settlement(reservation.record, tuple(actual))]
    parts = [reservation.record, *reservation.extensions]
    left = {charge.key: each for charge, each in zip(reservation.plan.charges, actual, strict=True)}
    last = {charge.key: index for index, part in enumerate(parts) for charge in part.charges}
    settled = []
    for index, part in enumerate(parts):
        amounts = []
        for charge in part.charges:
            rest = left[charge.key]
            amount = rest if last[charge.key] == index else min(rest, charge.amount)
            left[charge.key] = rest - amount
            amounts.append(amount)
        settled.append(Settlement(part, tuple(amounts)))
    return settled


def _held(reservation: Reservation) -> dict[str, int]:
    held: dict[str, int] = {}
    for part in (reservation.record, *reservation.extensions):
        for charge in part.charges if part is not None else ():
            held[charge.key] = held.get(charge.key, 0) + charge.amount
    return held


def _once(rule: LimitRule) -> bool:
    if rule.dimension == "concurrency":
        return True
    return rule.dimension == "requests" and not is_of_target(rule)
