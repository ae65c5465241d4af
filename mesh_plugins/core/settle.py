"""What a call really took, and the facts that say so. Pure: values in, values out.

A call's reservation is settled once, at the sum of its attempts: limits on the caller (team, user,
key, alias) take every attempt, limits on a provider or target take the attempts made there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from mesh_plugins.core.call import Attempt, Outcome, Plan, ProviderReply, Receipt, Reservation
from mesh_plugins.core.extending import settlements
from mesh_plugins.core.fact_of import attempt_fact
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.taking import taken_of
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import Done, FactOutcome, Settlement
from mesh_store.model.usage import Usage

_NOTHING = Usage()
_NO_REPLY = ProviderReply(None)


def settled(outcome: Outcome, hooks: Hooks) -> tuple[Receipt, Done, list[Settlement]]:
    """Return the receipt of a call that ended, the record that remembers it, and its extensions' actuals."""
    reservation, attempts = outcome.reservation, outcome.attempts
    plan, last = reservation.plan, attempts[-1]
    costs = [_cost(attempt, plan, hooks) for attempt in attempts]
    settlement: Settlement | None = None
    further: list[Settlement] = []
    if reservation.record is not None:
        settlement, *further = settlements(reservation, taken_of(plan, attempts, costs))
    usage, cost = last.usage, costs[-1]
    if len(attempts) > 1:
        for attempt, earlier in zip(attempts[:-1], costs, strict=False):
            usage = attempt.usage + usage
            cost = None if cost is None or earlier is None else cost + earlier
    fact = attempt_fact(reservation, last, len(attempts), costs[-1], (usage.total_tokens, cost))
    receipt = Receipt(outcome, usage, cost, fact, settlement)
    receipt.fact = hooks.fact.fold("fact", fact, receipt=receipt)
    return receipt, Done(receipt.fact, settlement, reservation.lost_id), further


def taken_by(attempts: Sequence[Attempt], plan: Plan, hooks: Hooks) -> list[int]:
    """Return what attempts took from each of a plan's limits."""
    costs = [_cost(attempt, plan, hooks) for attempt in attempts]
    return taken_of(plan, attempts, costs)


def failed_attempt(reservation: Reservation, attempt: Attempt, number: int, hooks: Hooks) -> Done:
    """Return the record of an attempt that failed while the call goes on elsewhere."""
    fact = attempt_fact(reservation, attempt, number, _cost(attempt, reservation.plan, hooks))
    return Done(hooks.fact.fold("fact", fact, receipt=None))


def estimated_usage(
    reservation: Reservation,
    reply: ProviderReply | None,
    outcome: FactOutcome,
    error: ProviderError | None = None,
) -> Usage:
    """Return what an attempt took when the provider did not say.

    An answer is counted by its characters, four to a token; one that came with success and could not be
    read was billed all the same, and counts as estimated. A call that was cut off or timed out before
    anything arrived may still have been billed: its input is counted. A refused connection or an error
    status is not billed.
    """
    reply = reply or _NO_REPLY
    estimate, output = reservation.plan.estimate, (reply.output_chars + 3) // 4
    if output == 0 and error is not None and error.billed:
        return replace(estimate, estimated=True)
    if outcome == "error" and output == 0:
        return _NOTHING
    if reply.begun is not None:
        return replace(reply.begun, output_tokens=output, estimated=True)
    return Usage(estimate.input_tokens, output, estimated=True, service=estimate.service)


def _cost(attempt: Attempt, plan: Plan, hooks: Hooks) -> int | None:
    """Return what an attempt cost in pico-USD, None when nobody knows.

    The answer is here and the money is owed: a plugin that fails now is counted and the next one asked.
    """
    if attempt.reply is None and attempt.usage == _NOTHING:
        return 0  # not billed, whatever the model's price per request
    cost: int | None = hooks.price.first_sound(
        is_cost,
        target=attempt.call.target,
        usage=attempt.usage,
        snapshot=plan.snapshot,
        at_us=attempt.started_at_us,
    )
    return cost


def is_cost(answer: Any) -> bool:
    """Tell whether a plugin's price is one: whole pico-USD, 0 or more."""
    return type(answer) is int and answer >= 0
