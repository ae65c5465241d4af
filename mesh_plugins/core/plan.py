"""Deciding what a call may do, purely: one snapshot in, one plan out.

No I/O and no tokenizer here; hooks answer from the snapshot. A call asks

1. what its alias means            ``mesh_resolve``
2. whether it may use it           ``mesh_authorize``
3. which targets, in what order    ``mesh_order_targets``
4. how much each would take        ``mesh_estimate``, ``mesh_price``
5. from which limits               ``mesh_charges``

and reserves, of limits on the caller, the most that any of the targets it may try would take. A limit
on a provider or target binds the attempts made there: those of the first target are reserved, those of
the others only asked about (amount 0), so that one answer says which of them has room.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mesh_plugins.core.call import CallRequest, Plan, Quote, is_of_target
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.settle import is_cost
from mesh_plugins.core.words import fit
from mesh_store.model.errors import ConfigError, PluginError, UnknownAlias
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge
from mesh_store.model.snapshot import Alias, LimitRule, Snapshot, Target
from mesh_store.model.usage import Usage


def plan_call(
    request: CallRequest,
    snapshot: Snapshot,
    hooks: Hooks,
    cooling: Callable[[str], bool] = lambda target_id: False,
) -> Plan:
    """Decide everything about a call that can be decided without asking anybody.

    Args:
        request: what was asked.
        snapshot: the configuration that holds.
        hooks: who decides.
        cooling: tells of a target's id whether it failed so recently that it is tried last.

    Raises:
        UnknownAlias: no plugin knows the alias.
        AccessDenied: a plugin refuses the caller.
        PluginError: a plugin failed, or answered a price that is none.
        ConfigError: the alias has no target, or a ``hard`` limit needs a bound the call does not give.
    """
    alias = hooks.resolve.first(request=request, snapshot=snapshot)
    if alias is None:
        raise _unknown(request, snapshot)
    hooks.authorize.every(request=request, alias=alias, snapshot=snapshot)
    targets = ordered(request, alias, snapshot, hooks, cooling)
    rules: dict[str, LimitRule] = {}
    largest, money, needs = _needs(request, alias, targets, snapshot, hooks, rules)
    return plan_of(request, snapshot, alias, targets, largest, money, rules.values(), needs)


def plan_of(
    request: CallRequest,
    snapshot: Snapshot,
    alias: Alias,
    targets: tuple[Target, ...],
    estimate: Usage,
    pico_usd: int | None,
    rules: Iterable[LimitRule],
    needs: Sequence[Mapping[str, Charge]],
) -> Plan:
    """Put a plan together from what each target takes; see `Plan`."""
    return Plan(
        request=request,
        snapshot=snapshot,
        alias=alias,
        targets=targets,
        estimate=estimate,
        estimate_pico_usd=pico_usd,
        rules=tuple(rules),
        charges=_charges(rules, needs),
        needs=tuple(needs),
        timeout_us=min(request.timeout_us or alias.timeout_us, alias.timeout_us),
    )


def _needs(
    request: CallRequest,
    alias: Alias,
    targets: tuple[Target, ...],
    snapshot: Snapshot,
    hooks: Hooks,
    rules: dict[str, LimitRule],
) -> tuple[Usage, int | None, list[dict[str, Charge]]]:
    """Return the largest estimate, the highest cost, what each target takes; notes limits in ``rules``."""
    needs: list[dict[str, Charge]] = []
    largest, money, at_us = Usage(), None, now_us()
    for target in targets:
        estimate = hooks.estimate.first(request=request, alias=alias, target=target) or Usage()
        price = quote(hooks, target, snapshot, at_us)
        cost = price(estimate)
        if estimate.total_tokens > largest.total_tokens:
            largest = estimate
        if cost is not None:
            money = max(money or 0, cost)
        answers = hooks.charges.every(
            request=request, alias=alias, target=target, estimate=estimate, snapshot=snapshot, price=price
        )
        needs.append(_joined(answers, rules))
    return largest, money, needs


def quote(hooks: Hooks, target: Target, snapshot: Snapshot, at_us: int) -> Quote:
    """Return what usage would cost on ``target``, as the plugins say, if its attempt began at ``at_us``."""

    def price(usage: Usage) -> int | None:
        cost: int | None = hooks.price.first(target=target, usage=usage, snapshot=snapshot, at_us=at_us)
        if cost is not None and not is_cost(cost):
            raise PluginError(
                f"mesh_price answered {cost!r} for model {target.model!r}; "
                "it must be whole pico-USD, 0 or more, or None"
            )
        return cost

    return price


def without_first(plan: Plan, skipped: int) -> Plan:
    """Return a plan that begins with a later target; the ones before it are not tried at all."""
    needs = plan.needs[skipped:]
    rules = tuple(rule for rule in plan.rules if any(rule.id in taken for taken in needs))
    return dataclasses.replace(
        plan,
        targets=plan.targets[skipped:],
        rules=rules,
        charges=_charges(rules, needs),
        needs=needs,
    )


def _joined(
    answers: Sequence[Sequence[tuple[LimitRule, Charge]]], rules: dict[str, LimitRule]
) -> dict[str, Charge]:
    """Return what all plugins together charge, by the limit's id, and note the limits."""
    taken: dict[str, Charge] = {}
    for charges in answers:
        for rule, charge in charges:
            name = rule.id
            held = taken.get(name)
            if held is None:
                rules[name], taken[name] = rule, charge
            elif charge.amount > held.amount:
                taken[name] = charge
    return taken


def _charges(rules: Iterable[LimitRule], needs: Sequence[Mapping[str, Charge]]) -> tuple[Charge, ...]:
    """Return what is reserved, one charge per rule and in their order."""
    first = needs[0]
    if all(each is first or each == first for each in needs):  # as mostly
        return tuple(first.values())  # whose limits are all there are, in their order
    return tuple([_reserved(rule, needs) for rule in rules])


def _reserved(rule: LimitRule, needs: Sequence[Mapping[str, Charge]]) -> Charge:
    """Return what is reserved of one limit for a call that tries these targets in order."""
    name = rule.id
    taken = [each[name] for each in needs if name in each]
    if not is_of_target(rule):
        most = taken[0]
        for charge in taken:
            if charge.amount > most.amount:
                most = charge
        return most
    if rule.id in needs[0]:
        return needs[0][rule.id]
    # Asks without taking and cannot refuse.
    return msgspec.structs.replace(taken[0], amount=0, enforce=False)


def ordered(
    request: CallRequest,
    alias: Alias,
    snapshot: Snapshot,
    hooks: Hooks,
    cooling: Callable[[str], bool],
) -> tuple[Target, ...]:
    """Return the targets a call tries, in order; those that fail at present come last.

    Raises:
        ConfigError: the alias has none.
    """
    targets = hooks.order_targets.first(request=request, targets=alias.targets, snapshot=snapshot)
    ordered = snapshot.targets_of(
        tuple(alias.targets if targets is None else targets), request.principal.team
    )
    if not ordered:
        raise ConfigError(f"alias {alias.name!r} has no target to call; add one with 'mesh alias'")
    if len(ordered) > 1 and any(cooling(target.id) for target in ordered):
        return tuple(sorted(ordered, key=lambda target: cooling(target.id)))
    return ordered


def _unknown(request: CallRequest, snapshot: Snapshot) -> UnknownAlias:
    names = snapshot.alias_names(request.principal.team)
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return UnknownAlias(
        f"no alias {fit(request.alias)!r} at revision {snapshot.revision}; "
        + (f"this key's team can use: {shown}" if names else "this key's team can use none yet")
    )
