"""What the attempts of a call took from each of its limits. Pure.

Limits on the caller take every attempt, limits on a provider or target those made there.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh_plugins.core.call import Attempt, Plan, is_of_target
from mesh_store.model.snapshot import LimitRule, Subject
from mesh_store.model.usage import Usage


def taken_of(plan: Plan, attempts: Sequence[Attempt], costs: Sequence[int | None]) -> list[int]:
    """Return what each of a plan's limits takes."""
    if len(attempts) > 1:
        return [_taken(rule, attempts, costs) for rule in plan.rules]
    usage, cost = attempts[0].usage, costs[0]
    by_dimension = {
        "requests": 1,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "tokens": usage.total_tokens,
        "usd": cost or 0,
        "concurrency": 0,
    }
    return [
        _taken(rule, attempts, costs) if is_of_target(rule) else by_dimension[rule.dimension]
        for rule in plan.rules
    ]


def _taken(rule: LimitRule, attempts: Sequence[Attempt], costs: Sequence[int | None]) -> int:
    """Return what a limit takes: of every attempt, or of those at its provider or target."""
    subject, dimension = rule.subject, rule.dimension
    if subject.provider is None and subject.target is None:
        if dimension == "requests":
            return 1
    elif dimension == "requests":
        return sum(attempt.sent for attempt in attempts if _is_there(subject, attempt))
    if dimension == "concurrency":
        return 0
    taken = 0
    for attempt, cost in zip(attempts, costs, strict=True):
        if _is_there(subject, attempt):
            taken += (cost or 0) if dimension == "usd" else _tokens(dimension, attempt.usage)
    return taken


def _tokens(dimension: str, usage: Usage) -> int:
    if dimension == "input_tokens":
        return usage.input_tokens
    return usage.output_tokens if dimension == "output_tokens" else usage.total_tokens


def _is_there(subject: Subject, attempt: Attempt) -> bool:
    """Tell whether a limit's subject includes where an attempt was made."""
    call = attempt.call
    return subject.provider in (None, call.provider.id) and subject.target in (None, call.target.id)
