"""Replaying traffic: each call planned and charged as a caller would, decided in virtual time.

A call takes what it took from its start, as if the estimate had been right; its slots are free again when
it ended. What was refused takes nothing and is not tried again. A target without room is passed over as a
caller passes it over. The same trace and manifest give the same answer, to the last number.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from mesh_plugins.core.call import CallRequest, Plan
from mesh_plugins.core.measure import PayloadSize
from mesh_plugins.core.plan import plan_call, without_first
from mesh_plugins.core.reserve import next_with_room
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.markers import hookimpl
from mesh_plugins.simulation.traces import Row
from mesh_store.model.errors import Denied, MeshError
from mesh_store.model.limits import Decision, Reservation
from mesh_store.model.patterns import WILD, is_pattern, is_rest, prefix_of
from mesh_store.model.snapshot import KeyEntry, Snapshot, Target
from mesh_store.model.usage import Usage


class VirtualLimiter(Protocol):
    """A limiter whose every answer says when: `mesh_store.model.reference.Reference`, or one over Redis."""

    def reserve(self, charges: Any, *, reservation_id: str, ttl_us: int, now_us: int) -> Decision:
        """Take all charges, or none."""
        ...

    def settle(self, reservation: Reservation, deltas: Any = (), *, now_us: int) -> bool:
        """True a reservation up."""
        ...


class Decided(NamedTuple):
    """What became of one call.

    Attributes:
        row: the call.
        plan: what it would have taken; None when it was refused before its limits were asked.
        decision: the limiter's answer, or None.
        error: why it was refused before, or None.
    """

    row: Row
    plan: Plan | None
    decision: Decision | None
    error: MeshError | None = None


def replay(rows: Iterable[Row], snapshot: Snapshot, limiter: VirtualLimiter) -> Iterator[Decided]:
    """Yield what becomes of each call; rows are in the order of time."""
    told = _Told()
    hooks = load((), (told,), builtin=builtin_plugins())
    running: list[tuple[int, int, Reservation]] = []
    for number, row in enumerate(rows):
        while running and running[0][0] <= row.at_us:
            ended_us, _, reservation = heapq.heappop(running)
            limiter.settle(reservation, now_us=ended_us)
        told.row = row
        try:
            plan = plan_call(_request(row, number, _called(row, snapshot)), snapshot, hooks)
        except (Denied, MeshError) as error:
            yield Decided(row, None, None, error)
            continue
        plan, decision = _decided(plan, limiter, f"s{number}", row)
        if decision is not None and decision.reservation is not None:
            ends_us = row.at_us + row.duration_us
            heapq.heappush(running, (ends_us, number, decision.reservation))
        yield Decided(row, plan, decision)


def _decided(plan: Plan, limiter: VirtualLimiter, owner: str, row: Row) -> tuple[Plan, Decision | None]:
    if not plan.charges:
        return plan, None
    # A reservation's record outlives its call, as its deadline does in a caller.
    ttl_us = row.duration_us + 3_600_000_000
    decision = limiter.reserve(plan.charges, reservation_id=owner, ttl_us=ttl_us, now_us=row.at_us)
    skipped = 0 if decision.admitted else next_with_room(plan, decision)
    if not skipped:
        return plan, decision
    other = without_first(plan, skipped)
    answer = limiter.reserve(other.charges, reservation_id=f"{owner}.1", ttl_us=ttl_us, now_us=row.at_us)
    return (other, answer) if answer.admitted else (plan, decision)


class _Told:
    """What the trace says of the present call, in place of estimates and prices."""

    row: Row

    @hookimpl
    def mesh_estimate(self, request: CallRequest, target: Target) -> Usage:
        """Return what the call took."""
        return Usage(self.row.input_tokens, self.row.output_tokens)

    @hookimpl
    def mesh_price(self, target: Target) -> int | None:
        """Return what the call cost, or None to let the prices say."""
        return self.row.cost_pico_usd

    @hookimpl
    def mesh_order_targets(self, request: CallRequest, targets: Any) -> Any:
        """Put the target that answered first; the others by tier, as they are written."""
        row = self.row

        def place(target: Target) -> tuple[bool, int]:
            answered = target.model == row.model and row.provider in (None, target.provider)
            return (not answered, target.tier)

        return sorted(targets, key=place)


def _called(row: Row, snapshot: Snapshot) -> str:
    """Return the name that was called; a stored call that a pattern caught has the pattern, and the model."""
    if not is_pattern(row.alias):
        return row.alias
    model = row.model or ""
    stems = {
        target.model.removesuffix(WILD)
        for alias in snapshot.document.aliases
        if alias.name == row.alias and alias.team in (None, row.team)
        for target in alias.targets
        if target.model.endswith(WILD)
    }
    rests = [model.removeprefix(stem) for stem in sorted(stems, key=len) if model.startswith(stem)]
    return prefix_of(row.alias) + next((rest for rest in reversed(rests) if is_rest(rest)), "any")


def _request(row: Row, number: int, name: str) -> CallRequest:
    key = row.key or f"a key of {row.team}"
    return CallRequest(
        id=f"s{number}",
        operation="chat",
        alias=name,
        payload={},
        principal=KeyEntry(id=key, team=row.team, user=row.user),
        size=PayloadSize(text_bytes=row.input_tokens),
        max_tokens=row.max_tokens or row.output_tokens or 1,
        end_user=row.end_user,
        tags=row.tags,
    )
