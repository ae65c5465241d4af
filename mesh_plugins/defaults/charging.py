"""Which limits a call takes from, and how much.

A soft limit is charged the estimate and trued up by the settlement. A ``hard`` one is charged an
upper bound, so that it never overshoots: all input bytes as tokens, and the cap on the output.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mesh_plugins.core.call import CallRequest, Quote
from mesh_plugins.core.parameters import output_cap
from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import ConfigError
from mesh_store.model.limits import Charge
from mesh_store.model.snapshot import Alias, LimitRule, Snapshot, Subject, Target
from mesh_store.model.usage import Usage


class Charging:
    """Charges every limit whose subject the call matches."""

    @hookimpl(trylast=True)
    def mesh_charges(
        self, request: CallRequest, target: Target, estimate: Usage, snapshot: Snapshot, price: Quote
    ) -> Sequence[tuple[LimitRule, Charge]]:
        """Return one charge per limit that binds this call on this target."""
        principal = request.principal
        alias = snapshot.alias(request.alias, principal.team)
        call = Subject(
            team=principal.team,
            user=principal.user,
            key=principal.id,
            alias=alias.id if alias else None,
            provider=target.provider,
            target=target.id,
        )
        return [
            (
                rule,
                Charge(
                    charge_key(rule, principal.team),
                    rule.limit,
                    _amount(rule, request, alias, target, estimate, price),
                    rule.enforce,
                ),
            )
            for rule in snapshot.limits_on(call, principal)
        ]


def charge_key(rule: LimitRule, team: str) -> str:
    """Return the Redis key of a limit's state.

    The hash tag is the team for every limit that cannot span teams, so that one call's limits live in
    one slot and are decided in one atomic script; else it is the subject's own id.
    """
    subject = rule.subject
    if subject.team is not None or subject.key is not None:
        return f"{{{team}}}:q:{rule.id}"
    spanning = subject.user or subject.alias or subject.target or subject.provider or "global"
    return f"{{{spanning}}}:q:{rule.id}"


def _amount(
    rule: LimitRule, request: CallRequest, alias: Alias | None, target: Target, estimate: Usage, price: Quote
) -> int:
    if rule.dimension in ("requests", "concurrency"):
        return 1
    usage = _bound(rule, request, alias, target, estimate) if rule.limit.hard else estimate
    if rule.dimension == "usd":
        return _dearest(usage, price) if rule.limit.hard else price(usage) or 0
    if rule.dimension == "input_tokens":
        return usage.input_tokens
    if rule.dimension == "output_tokens":
        return usage.output_tokens
    return usage.total_tokens


def _dearest(bound: Usage, price: Quote) -> int:
    """Return the most that usage within ``bound`` can cost.

    What a token costs depends on what it was (written to a cache, reasoned, spoken), and the service that
    was asked for may be answered by the usual one; nobody knows before.
    """

    def cost(usage: Usage) -> int:
        return price(usage) or 0

    sent, said = bound.input_tokens, bound.output_tokens
    most = 0
    for service in {bound.service, None}:
        plain = replace(bound, service=service)
        dearest_input = max(
            plain,
            replace(plain, cache_write_tokens=sent),
            replace(plain, cache_write_tokens=sent, cache_write_1h_tokens=sent),
            replace(plain, audio_input_tokens=sent),
            key=cost,
        )
        spoken = replace(dearest_input, audio_output_tokens=said)
        reasoned = replace(dearest_input, reasoning_tokens=said)
        most = max(most, cost(dearest_input), cost(spoken), cost(reasoned))
    return most


def _bound(
    rule: LimitRule, request: CallRequest, alias: Alias | None, target: Target, estimate: Usage
) -> Usage:
    cap = output_cap(request, alias, target) if alias else request.max_tokens
    # Shadow mode never refuses, not for want of a bound either.
    if cap is None:
        if rule.enforce:
            raise ConfigError(
                f"limit {rule.text!r} of {rule.label} is hard and needs to know how much this call may "
                f"generate: pass max_tokens, or set max_output_tokens on alias {request.alias!r}"
            )
        cap = estimate.output_tokens
    return Usage(_sent(rule, request, target), cap, service=estimate.service)


def _sent(rule: LimitRule, request: CallRequest, target: Target) -> int:
    """Return the most tokens a request can send: by its size, else all that the model takes in."""
    size = request.size
    if size.unbounded is None or rule.dimension == "output_tokens":
        return size.bound
    if target.context_window is not None:
        return max(size.bound, target.context_window)
    if rule.enforce:
        raise ConfigError(
            f"limit {rule.text!r} of {rule.label} is hard, and this call sends {size.unbounded}, of which "
            "nobody can tell how many tokens it is: send its text, or set context_window on the target "
            f"{target.model!r}"
        )
    return size.bound + size.file_tokens
