"""Replaying traffic: each call planned and charged as a caller would, decided in virtual time.

A call reserves its estimate when it starts and is settled at what it took when it ends, as a caller's is; its
slots are free then. The estimate is the one that was stored with it, else the input that was and the output
that calls of its alias have taught so far. What was refused takes nothing and is not tried again. A target
without room is passed over as a caller passes it over. The same trace and manifest give the same answer, to
the last number.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from mesh_plugins.core.call import CallRequest, Plan, is_of_target
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.measure import PayloadSize
from mesh_plugins.core.plan import plan_call, without_first
from mesh_plugins.core.reserve import next_with_room
from mesh_plugins.core.settle import is_cost
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.defaults.estimating import Estimating
from mesh_plugins.manager import load
from mesh_plugins.markers import hookimpl
from mesh_plugins.simulation.traces import Row
from mesh_store.model.errors import Denied, MeshError
from mesh_store.model.limits import Decision, Reservation
from mesh_store.model.snapshot import Alias, KeyEntry, Snapshot, Target
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


class _Running(NamedTuple):
    """A call that was admitted, by when it ends; the number decides between those that end together."""

    ends_us: int
    number: int
    row: Row
    reservation: Reservation
    deltas: tuple[int, ...]


def replay(rows: Iterable[Row], snapshot: Snapshot, limiter: VirtualLimiter) -> Iterator[Decided]:
    """Yield what becomes of each call; rows are in the order of time."""
    told = _Told()
    hooks = load((), (told,), builtin=builtin_plugins())
    running: list[_Running] = []
    for number, row in enumerate(rows):
        while running and running[0].ends_us <= row.at_us:
            ended = heapq.heappop(running)
            limiter.settle(ended.reservation, ended.deltas, now_us=ended.ends_us)
            told.learn(ended.row)
        told.row = row
        try:
            plan = plan_call(_request(row, number), snapshot, hooks)
        except (Denied, MeshError) as error:
            yield Decided(row, None, None, error)
            continue
        plan, decision = _decided(plan, limiter, f"s{number}", row)
        if decision is not None and decision.reservation is not None:
            deltas = _deltas(plan, row, hooks)
            ends_us = row.at_us + row.duration_us
            heapq.heappush(running, _Running(ends_us, number, row, decision.reservation, deltas))
        yield Decided(row, plan, decision)


def _deltas(plan: Plan, row: Row, hooks: Hooks) -> tuple[int, ...]:
    """Return what settles a call: what it took of each limit, less what was reserved."""
    usage = Usage(row.input_tokens, row.output_tokens)
    cost = row.cost_pico_usd
    if cost is None:
        cost = hooks.price.first_sound(
            is_cost, target=plan.targets[0], usage=usage, snapshot=plan.snapshot, at_us=row.at_us
        )
    took = {
        "requests": 1,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "tokens": usage.total_tokens,
        "usd": cost or 0,
    }
    deltas = []
    for rule, charge in zip(plan.rules, plan.charges, strict=True):
        if charge.limit.kind in ("slots", "distinct"):
            deltas.append(0)
        elif is_of_target(rule) and rule.id not in plan.needs[0]:
            deltas.append(-charge.amount)  # of a target that was not asked
        else:
            deltas.append(took[rule.dimension] - charge.amount)
    return tuple(deltas)


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
    """What the trace says of the present call, in place of what callers know and the store's prices."""

    row: Row

    def __init__(self) -> None:
        self._estimating = Estimating()

    def learn(self, row: Row) -> None:
        """Learn from a call that ended, as the caller it came from did."""
        if row.output_tokens:
            self._estimating.learn(row.alias, 0, row.input_tokens, row.output_tokens)

    @hookimpl
    def mesh_estimate(self, request: CallRequest, alias: Alias, target: Target) -> Usage:
        """Return what the call was estimated at."""
        row = self.row
        if row.estimate_tokens is not None:
            output = max(0, row.estimate_tokens - row.input_tokens)
            return Usage(min(row.input_tokens, row.estimate_tokens), output, estimated=True)
        unsaid = replace(request, max_tokens=row.max_tokens)
        learned = self._estimating.mesh_estimate(unsaid, alias, target).output_tokens
        return Usage(row.input_tokens, learned, estimated=True)

    @hookimpl
    def mesh_price(self, target: Target, usage: Usage, snapshot: Snapshot) -> int | None:
        """Return what the call was estimated to cost; None lets the prices say."""
        if usage.estimated and self.row.estimate_pico_usd is not None:
            return self.row.estimate_pico_usd
        # Without a price for the model, what it cost is the best that is known.
        return self.row.cost_pico_usd if snapshot.rates(target) is None else None

    @hookimpl
    def mesh_order_targets(self, request: CallRequest, targets: Any) -> Any:
        """Put the target that answered first; the others by tier, as they are written."""
        row = self.row

        def place(target: Target) -> tuple[bool, int]:
            answered = target.model == row.model and row.provider in (None, target.provider)
            return (not answered, target.tier)

        return sorted(targets, key=place)


def _request(row: Row, number: int) -> CallRequest:
    key = row.key or f"a key of {row.team}"
    # Hard limits want to know the most a call may generate; what it did generate it was allowed to.
    cap = row.max_tokens or row.output_tokens or 1
    return CallRequest(
        id=f"s{number}",
        operation="chat",
        alias=row.alias,
        payload={"max_tokens": cap},
        principal=KeyEntry(id=key, team=row.team, user=row.user),
        # Hard limits take every byte for a token; by what callers assume before they learn, ten are three.
        size=PayloadSize(text_bytes=-(-row.input_tokens * 10 // 3)),
        max_tokens=cap,
        end_user=row.end_user,
        tags=row.tags,
    )
