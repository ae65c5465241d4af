"""The facts a call leaves: of an attempt that ended, of a process that dies in one, of a refusal. Pure.

Two of them are made for every call, so their fields are given by position, in `Fact`'s own order, a line
for each group of them: 46 keywords would cost three times as much.
"""

from __future__ import annotations

from mesh_plugins.core.call import Attempt, CallRequest, Plan, ProviderReply, Reservation, is_of_target
from mesh_plugins.core.words import fit, word
from mesh_store.model.errors import MeshError
from mesh_store.model.facts import FACT_VERSION, Fact
from mesh_store.model.ids import new_id, now_us

_NO_REPLY = ProviderReply(None)
_UNSAID: tuple[None, None] = (None, None)


def attempt_fact(
    reservation: Reservation,
    attempt: Attempt,
    number: int,
    cost: int | None,
    settled: tuple[int | None, int | None] = _UNSAID,
) -> Fact:
    """Return the fact of one attempt.

    Args:
        reservation: of the call.
        attempt: how it ended.
        number: from 1.
        cost: pico-USD, None when nobody knows.
        settled: tokens and pico-USD of the whole call, where this attempt ended it.
    """
    plan, usage, error, record = reservation.plan, attempt.usage, attempt.error, reservation.record
    request, alias, estimate, snapshot = plan.request, plan.alias, plan.estimate, plan.snapshot
    caller, call, reply = request.principal, attempt.call, attempt.reply or _NO_REPLY
    provider = call.provider
    return Fact(
        FACT_VERSION, new_id(), request.id, number,
        attempt.started_at_us, attempt.duration_us, attempt.ttft_us, attempt.outcome,
        request.operation, request.host, request.stream,
        caller.team, caller.user, caller.id, fit(alias.name), alias.id, snapshot.revision,
        provider.id, provider.name, call.target.model, word(reply.response_model),
        usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens,
        usage.reasoning_tokens, usage.audio_input_tokens, usage.audio_output_tokens, usage.estimated,
        cost, snapshot.document.rate_card, estimate.total_tokens, plan.estimate_pico_usd,
        word(reply.finish_reason), error.kind if error else None, error.status if error else None,
        word(reply.response_id), request.session, request.end_user, request.tags,
        request.trace_id, request.span_id, record.id if record else None,
        (*reply.flags, *_decision_flags(reservation)),
        usage.cache_write_1h_tokens, word(usage.service), usage.image_input_tokens, usage.image_output_tokens,
        *settled,
    )  # fmt: skip


def lost_fact(reservation: Reservation, target: int = 0, attempt: int = 1) -> Fact:
    """Return the fact that holds if this process dies in that attempt: the estimate, as lost.

    Its id is the same for every attempt of a call: only the newest holds.
    """
    plan, record = reservation.plan, reservation.record
    request, alias, estimate, snapshot = plan.request, plan.alias, plan.estimate, plan.snapshot
    caller, asked = request.principal, plan.targets[target]
    provider, tokens, cost = snapshot.provider(asked.provider), estimate.total_tokens, plan.estimate_pico_usd
    return Fact(
        FACT_VERSION, reservation.lost_id, request.id, attempt,
        now_us(), 0, None, "lost",
        request.operation, request.host, request.stream,
        caller.team, caller.user, caller.id, fit(alias.name), alias.id, snapshot.revision,
        provider.id, provider.name, asked.model, None,
        estimate.input_tokens, estimate.output_tokens, 0, 0,
        0, 0, 0, True,
        cost, snapshot.document.rate_card, tokens, cost,
        None, None, None,
        None, request.session, request.end_user, request.tags,
        request.trace_id, request.span_id, record.id if record else None,
        _decision_flags(reservation),
        0, word(estimate.service), 0, 0,
        tokens, cost,
    )  # fmt: skip


def denied_fact(request: CallRequest, revision: int, error: MeshError, plan: Plan | None = None) -> Fact:
    """Return the fact of a call that was refused before any provider was asked."""
    caller, alias = request.principal, plan.alias if plan else None
    return Fact(
        version=FACT_VERSION,
        id=new_id(),
        call_id=request.id,
        attempt=0,
        started_at_us=now_us(),
        duration_us=0,
        ttft_us=None,
        outcome="denied",
        operation=request.operation,
        host=request.host,
        stream=request.stream,
        team_id=caller.team,
        user_id=caller.user,
        key_id=caller.id,
        alias=fit(alias.name if alias else request.alias),
        alias_id=alias.id if alias else None,
        revision=revision,
        estimate_tokens=plan.estimate.total_tokens if plan else 0,
        estimate_pico_usd=plan.estimate_pico_usd if plan else None,
        error_type=type(error).__name__,
        status=error.status,
        session=request.session,
        end_user=request.end_user,
        tags=request.tags,
        trace_id=request.trace_id,
        span_id=request.span_id,
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
