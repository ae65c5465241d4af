"""Planning what was planned before: of a key's calls of an alias, what stays the same is kept.

What the name means, whether the key may use it, and which limits bind at each of its targets are the same
until a new snapshot or a new entry of the key; tokens, money, the deadline and the order of the targets
differ from call to call and are worked out as ever, prices at this very moment. Planned anew each time is
what would need more: ``hard`` limits (they take a bound that depends on the parameters), end users and tags
(limits tell them apart), and whatever a plugin decides that is not one of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from mesh_plugins.core.call import CallRequest, Plan
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.plan import ordered, plan_call, plan_of, quote
from mesh_plugins.core.soft import soft_amounts
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Limit
from mesh_store.model.snapshot import Alias, KeyEntry, LimitRule, Snapshot
from mesh_store.model.usage import Usage

#: Plans that are kept at most; a process calls with few keys, and a pattern may catch any number of names.
MOST_KEPT = 4_096
_F = TypeVar("_F", bound=Callable[..., Any])


def foreseen(implementation: _F) -> _F:
    """Mark an implementation whose answers the `Planner` knows to be the same for the same kind of call."""
    implementation.mesh_foreseen = True  # type: ignore[attr-defined]
    return implementation


class _Takes(NamedTuple):
    """What a call takes on one target.

    Attributes:
        rules: the limits that bind there.
        each: of each its id, the Redis key of its state, itself, its dimension, and whether it refuses.
        of_money: True when one of them limits money.
    """

    rules: tuple[LimitRule, ...]
    each: tuple[tuple[str, str, Limit, str, bool], ...]
    of_money: bool


class _Known(NamedTuple):
    """What stays the same of a plan, and the key's entry it holds for; ``takes`` by the target's id."""

    principal: KeyEntry
    alias: Alias
    takes: dict[str, _Takes]


class Planner:
    """Plans calls, and keeps what the next one like it can use.

    Args:
        hooks: who decides.
        cooling: tells of a target's id whether it failed so recently that it is tried last.
    """

    __slots__ = ("_cooling", "_foreseen", "_hooks", "_kept")

    def __init__(self, hooks: Hooks, cooling: Callable[[str], bool]) -> None:
        self._hooks, self._cooling = hooks, cooling
        deciding = (hooks.resolve, hooks.authorize, hooks.charges)
        self._foreseen = all(getattr(hook.sole, "mesh_foreseen", False) for hook in deciding)
        #: Of the newest snapshot, by key, alias and operation.
        self._kept: tuple[Snapshot | None, dict[tuple[str, str, str], _Known]] = (None, {})

    def plan(self, request: CallRequest, snapshot: Snapshot) -> Plan:
        """Decide about a call as `plan_call` does; raises what it raises."""
        if not self._foreseen or request.tags or request.end_user is not None:
            return plan_call(request, snapshot, self._hooks, self._cooling)
        holds_for, kept = self._kept
        if holds_for is not snapshot or len(kept) > MOST_KEPT:
            kept = {}
            self._kept = (snapshot, kept)
        name = (request.principal.id, request.alias, request.operation)
        known = kept.get(name)
        if known is None or known.principal is not request.principal:
            known = None
        elif (plan := self._again(known, request, snapshot)) is not None:
            return plan
        plan = plan_call(request, snapshot, self._hooks, self._cooling)
        if not any(rule.limit.hard for rule in plan.rules):
            kept[name] = _known(plan, known)
        return plan

    def _again(self, known: _Known, request: CallRequest, snapshot: Snapshot) -> Plan | None:
        """Return the plan, or None when it tries a target that no plan has tried before."""
        alias, hooks, now = known.alias, self._hooks, now_us()
        targets = ordered(request, alias, snapshot, hooks, self._cooling)
        largest, money = Usage(), None
        needs: list[dict[str, Charge]] = []
        rules: list[tuple[LimitRule, ...]] = []
        before: tuple[_Takes, Usage, int | None] | None = None
        for target in targets:
            takes = known.takes.get(target.id)
            if takes is None:
                return None
            estimate = hooks.estimate.first(request=request, alias=alias, target=target) or Usage()
            cost = quote(hooks, target, snapshot, now)(estimate)
            if estimate.total_tokens > largest.total_tokens:
                largest = estimate
            if cost is not None:
                money = max(money or 0, cost)
            same = takes, estimate, cost if takes.of_money else None
            if same == before:
                needs.append(needs[-1])
                continue
            before = same
            rules.append(takes.rules)
            needs.append(_taken(takes, soft_amounts(estimate, cost)))
        return plan_of(request, snapshot, alias, targets, largest, money, _together(rules), needs)


def _taken(takes: _Takes, amounts: Mapping[str, int]) -> dict[str, Charge]:
    return {
        rule_id: Charge(key, limit, amounts[dimension], enforce)
        for rule_id, key, limit, dimension, enforce in takes.each
    }


def _together(rules: Sequence[tuple[LimitRule, ...]]) -> tuple[LimitRule, ...]:
    """Return the limits of several targets, each once, in the order they are met."""
    if len(rules) == 1:
        return rules[0]
    return tuple({rule.id: rule for several in rules for rule in several}.values())


def _known(plan: Plan, before: _Known | None) -> _Known:
    """Return what stays the same of a plan, together with what an earlier one knew of other targets."""
    takes = {} if before is None else dict(before.takes)
    rules = {rule.id: rule for rule in plan.rules}
    for target, needs in zip(plan.targets, plan.needs, strict=True):
        bound = tuple(rules[rule_id] for rule_id in needs)
        each = tuple(
            (rule.id, charge.key, charge.limit, rule.dimension, charge.enforce)
            for rule, charge in zip(bound, needs.values(), strict=True)
        )
        found = _Takes(bound, each, any(rule.dimension == "usd" for rule in bound))
        # One object for all targets where the same limits bind, as mostly: they are told apart by it.
        takes[target.id] = next((other for other in takes.values() if other == found), found)
    return _Known(plan.request.principal, plan.alias, takes)
