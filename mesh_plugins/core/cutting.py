"""Cutting a stream that outgrows what was reserved for it (``on_exhausted: cut``, hard limits only).

A hard limit reserves an upper bound, so only a provider that ignores ``max_tokens`` gets beyond it.
Tokens are estimated from the characters that arrived, four to one, because usage comes last.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh_plugins.core.call import Plan
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.plan import quote
from mesh_store.model.errors import BudgetExceeded, QuotaExceeded
from mesh_store.model.ids import now_us
from mesh_store.model.limits import MAX_EXACT, Charge
from mesh_store.model.snapshot import LimitRule, Target
from mesh_store.model.usage import Usage

#: Characters to a token.
_CHARS = 4


class Bound(NamedTuple):
    """How far a stream may go.

    Attributes:
        chars: characters after which it is cut.
        rule: the limit that says so.
    """

    chars: int
    rule: LimitRule


def bound_of(plan: Plan, target: Target, hooks: Hooks) -> Bound | None:
    """Return what cuts a stream of this plan from this target, the tightest of several, or None."""
    if not plan.request.stream:
        return None
    bounds = [
        Bound(_CHARS * _most_output(plan, target, rule, charge, hooks), rule)
        for rule, charge in zip(plan.rules, _charges(plan, target), strict=True)
        if charge is not None
        if rule.on_exhausted == "cut" and rule.limit.hard and rule.enforce
        if rule.dimension in ("output_tokens", "tokens", "usd")
    ]
    return min(bounds, key=lambda bound: bound.chars, default=None)


def cut_error(bound: Bound, output_chars: int) -> QuotaExceeded:
    """Return what the reader of a cut stream is told: the limit, and what was used."""
    rule, used = bound.rule, (output_chars + _CHARS - 1) // _CHARS
    most = bound.chars // _CHARS
    kind = BudgetExceeded if rule.dimension == "usd" else QuotaExceeded
    return kind(
        f"{rule.label}: the stream was cut after about {used:,} output tokens, because the limit "
        f"{rule.text!r} had reserved {most:,} for it; raise max_tokens to reserve more",
        limit=rule.text,
        subject=rule.label,
        requested=used,
        remaining=0,
        retry_after=None,
    )


def _charges(plan: Plan, target: Target) -> list[Charge | None]:
    """Return what is reserved of each rule for one target: extensions cover what it needs by itself."""
    needs = plan.needs[plan.targets.index(target)]
    return [
        max(charge, needs[rule.id], key=lambda each: each.amount) if rule.id in needs else None
        for rule, charge in zip(plan.rules, plan.charges, strict=True)
    ]


def _most_output(plan: Plan, target: Target, rule: LimitRule, charge: Charge, hooks: Hooks) -> int:
    """Return the output tokens that what was reserved pays for."""
    if rule.dimension == "output_tokens":
        return charge.amount
    sent = plan.estimate.input_tokens
    if rule.dimension == "tokens":
        return max(0, charge.amount - sent)

    price, service = quote(hooks, target, plan.snapshot, now_us()), plan.estimate.service

    def affordable(tokens: int) -> bool:
        return (price(Usage(sent, tokens, service=service)) or 0) <= charge.amount

    low, high = 0, 2**40
    if affordable(high):  # no price: money cuts nothing
        return MAX_EXACT // _CHARS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle - 1)
    return low
