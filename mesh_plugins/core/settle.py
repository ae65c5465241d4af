"""What a call really took, and the facts that say so. Pure: values in, values out.

A call's reservation is settled once, at the sum of its attempts: limits on the caller (team, user,
key, alias) take every attempt, limits on a provider or target take the attempts made there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from mesh_plugins.core.call import (
    Attempt,
    CallRequest,
    Outcome,
    Plan,
    ProviderReply,
    Receipt,
    Reservation,
    is_of_target,
)
from mesh_plugins.core.extending import settlements
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.taking import taken_of
from mesh_plugins.core.words import fit, word
from mesh_store.model.errors import MeshError, ProviderError
from mesh_store.model.facts import Done, Fact, FactOutcome, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.snapshot import Alias
from mesh_store.model.usage import Usage

_NOTHING = Usage()
_NO_REPLY = ProviderReply(None)


def settled(outcome: Outcome, hooks: Hooks) -> tuple[Receipt, Done, list[Settlement]]:
    """Return the receipt of a call that ended, the record that remembers it, and its extensions' actuals."""
    reservation, attempts = outcome.reservation, outcome.attempts
    plan, last = reservation.plan, attempts[-1]
    costs = [_cost(attempt, plan, hooks) for attempt in attempts]
    settlement, further = None, list[Settlement]()
    if reservation.record is not None:
        actual = taken_of(plan, attempts, costs)
        settlement, *further = settlements(reservation, actual)
    usage, cost = last.usage, costs[-1]
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


def attempt_fact(
    reservation: Reservation,
    attempt: Attempt,
    number: int,
    cost: int | None,
    settled: tuple[int | None, int | None] = (None, None),
) -> Fact:
    """Return the fact of one attempt.

    Args:
        reservation: of the call.
        attempt: how it ended.
        number: from 1.
        cost: pico-USD, None when nobody knows.
        settled: tokens and pico-USD of the whole call, where this attempt ended it.
    """
    plan, usage, error = reservation.plan, attempt.usage, attempt.error
    reply = attempt.reply or _NO_REPLY
    provider, record = attempt.call.provider, reservation.record
    flags = (*reply.flags, *_decision_flags(reservation))
    return _fact(
        plan.request,
        plan.alias,
        id=new_id(),
        attempt=number,
        started_at_us=attempt.started_at_us,
        duration_us=attempt.duration_us,
        ttft_us=attempt.ttft_us,
        outcome=attempt.outcome,
        revision=plan.snapshot.revision,
        provider_id=provider.id,
        provider=provider.name,
        request_model=attempt.call.target.model,
        response_model=word(reply.response_model),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        estimated=usage.estimated,
        cost_pico_usd=cost,
        rate_card=plan.snapshot.document.rate_card,
        estimate_tokens=plan.estimate.total_tokens,
        estimate_pico_usd=plan.estimate_pico_usd,
        finish_reason=word(reply.finish_reason),
        error_type=error.kind if error else None,
        status=error.status if error else None,
        response_id=word(reply.response_id),
        reservation_id=record.id if record else None,
        flags=flags,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        service=word(usage.service),
        image_input_tokens=usage.image_input_tokens,
        image_output_tokens=usage.image_output_tokens,
        settled_tokens=settled[0],
        settled_pico_usd=settled[1],
    )


def _decision_flags(reservation: Reservation) -> tuple[str, ...]:
    decision = reservation.decision
    if decision is None or (decision.enforced and not decision.shadow_denied):
        return ()
    unenforced = () if decision.enforced else ("unenforced",)
    plan = reservation.plan
    # Limits of further targets were only asked about; that they have no room is no refusal.
    shadow = any(
        plan.rules[index].id in plan.needs[0] or not is_of_target(plan.rules[index])
        for index in decision.shadow_denied
    )
    return (*unenforced, "shadow_denied") if shadow else unenforced


def lost_fact(reservation: Reservation, target: int = 0, attempt: int = 1) -> Fact:
    """Return the fact that holds if this process dies in that attempt: the estimate, as lost.

    Its id is the same for every attempt of a call: only the newest holds.
    """
    plan = reservation.plan
    asked = plan.targets[target]
    provider = plan.snapshot.provider(asked.provider)
    return _fact(
        plan.request,
        plan.alias,
        id=reservation.lost_id,
        attempt=attempt,
        started_at_us=now_us(),
        outcome="lost",
        revision=plan.snapshot.revision,
        provider_id=provider.id,
        provider=provider.name,
        request_model=asked.model,
        input_tokens=plan.estimate.input_tokens,
        output_tokens=plan.estimate.output_tokens,
        estimated=True,
        cost_pico_usd=plan.estimate_pico_usd,
        rate_card=plan.snapshot.document.rate_card,
        estimate_tokens=plan.estimate.total_tokens,
        estimate_pico_usd=plan.estimate_pico_usd,
        reservation_id=reservation.record.id if reservation.record else None,
        flags=_decision_flags(reservation),
        service=word(plan.estimate.service),
        settled_tokens=plan.estimate.total_tokens,
        settled_pico_usd=plan.estimate_pico_usd,
    )


def denied_fact(request: CallRequest, revision: int, error: MeshError, plan: Plan | None = None) -> Fact:
    """Return the fact of a call that was refused before any provider was asked."""
    return _fact(
        request,
        plan.alias if plan else None,
        id=new_id(),
        attempt=0,
        started_at_us=now_us(),
        outcome="denied",
        revision=revision,
        rate_card=None,
        estimate_tokens=plan.estimate.total_tokens if plan else 0,
        estimate_pico_usd=plan.estimate_pico_usd if plan else None,
        error_type=type(error).__name__,
        status=error.status,
    )


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


def _fact(request: CallRequest, alias: Alias | None, **fields: Any) -> Fact:
    principal = request.principal
    return Fact(
        call_id=request.id,
        operation=request.operation,
        host=request.host,
        stream=request.stream,
        team_id=principal.team,
        user_id=principal.user,
        key_id=principal.id,
        alias_id=alias.id if alias else None,
        alias=fit(alias.name if alias else request.alias),
        session=request.session,
        end_user=request.end_user,
        tags=request.tags,
        trace_id=request.trace_id,
        span_id=request.span_id,
        **fields,
    )


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
