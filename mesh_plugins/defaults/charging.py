"""Which limits a call takes from, and how much.

A soft limit is charged the estimate and trued up by the settlement. A ``hard`` one is charged an
upper bound, so that it never overshoots: all input bytes as tokens, and the cap on the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from msgspec.structs import replace

from mesh_plugins.core.call import CallRequest, Quote
from mesh_plugins.core.parameters import output_cap
from mesh_plugins.core.planned import foreseen
from mesh_plugins.core.soft import soft_amounts
from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import ConfigError
from mesh_store.model.labels import (
    APART_US,
    is_per_value,
    member_of,
    named_label,
    opaque,
    overruled,
    value_of,
)
from mesh_store.model.limits import Charge, Limit
from mesh_store.model.snapshot import Alias, KeyEntry, LimitRule, Snapshot, Subject, Target
from mesh_store.model.usage import Usage

#: Limits that bind a call, each with the Redis key of its state.
_Bound = tuple[tuple[LimitRule, str], ...]
_MOST_KEPT = 4_096


class Charging:
    """Charges every limit whose subject the call matches.

    What binds a key's calls on a target stays the same until a new snapshot, unless they name an end user or
    tags, so it is worked out once.
    """

    def __init__(self) -> None:
        #: Of the newest snapshot, by key, alias and target; with the entry it holds for.
        self._kept: tuple[Snapshot | None, dict[tuple[str, str, str], tuple[KeyEntry, _Bound]]] = (None, {})

    @foreseen
    @hookimpl(trylast=True)
    def mesh_charges(
        self,
        request: CallRequest,
        alias: Alias,
        target: Target,
        estimate: Usage,
        snapshot: Snapshot,
        price: Quote,
    ) -> Sequence[tuple[LimitRule, Charge]]:
        """Return one charge per limit that binds this call on this target."""
        if request.end_user is None and not request.tags:
            bound = self._bound(request, alias, target, snapshot)
            of_money = any(rule.dimension == "usd" and not rule.limit.hard for rule, _ in bound)
            soft = soft_amounts(estimate, price(estimate) if of_money else None)
            return [
                (
                    rule,
                    Charge(
                        key,
                        rule.limit,
                        _amount(rule, request, alias, target, estimate, price)
                        if rule.limit.hard
                        else soft[rule.dimension],
                        rule.enforce,
                    ),
                )
                for rule, key in bound
            ]
        charges = []
        for rule, key in _told_apart(request, alias, target, snapshot):
            amount = _amount(rule, request, alias, target, estimate, price)
            charges.append((rule, Charge(key, rule.limit, amount, rule.enforce)))
            if is_per_value(rule.subject):
                charges.append(_seen(rule, request))
        return charges

    def _bound(self, request: CallRequest, alias: Alias, target: Target, snapshot: Snapshot) -> _Bound:
        principal = request.principal
        holds_for, kept = self._kept
        if holds_for is not snapshot or len(kept) > _MOST_KEPT:
            kept = {}
            self._kept = (snapshot, kept)
        found = kept.get((principal.id, alias.id, target.id))
        if found is None or found[0] is not principal:
            rules = _binding(request, alias, target, snapshot)
            found = principal, tuple((rule, charge_key(rule, principal.team)) for rule in rules)
            kept[principal.id, alias.id, target.id] = found
        return found[1]


def _binding(request: CallRequest, alias: Alias, target: Target, snapshot: Snapshot) -> list[LimitRule]:
    """Return the limits whose subject a call on ``target`` matches."""
    principal = request.principal
    call = Subject(
        team=principal.team,
        user=principal.user,
        key=principal.id,
        alias=alias.id,
        provider=target.provider,
        target=target.id,
        end_user=request.end_user,
    )
    return list(snapshot.limits_on(call, principal, request.tags))


def _told_apart(
    request: CallRequest, alias: Alias, target: Target, snapshot: Snapshot
) -> Iterator[tuple[LimitRule, str]]:
    """Yield the limits that hold; those on each end user or value are labelled with the very one."""
    rules = _binding(request, alias, target, snapshot)
    gone = overruled(rules)
    for rule in rules:
        if rule.id not in gone:
            key = charge_key(rule, request.principal.team, request.end_user, request.tags)
            if is_per_value(rule.subject):
                yield replace(rule, label=named_label(rule, request.end_user, request.tags)), key
            else:
                yield rule, key


@lru_cache(maxsize=256)
def _apart(distinct: int) -> Limit:
    """Return one limit for all that keep as many apart: the limiter knows limits again by identity."""
    return Limit(amount=distinct, period_us=APART_US, kind="distinct", on_outage="open")


def _seen(rule: LimitRule, request: CallRequest) -> tuple[LimitRule, Charge]:
    """Return the charge that bounds how many end users, or values, a limit keeps apart in a day."""
    subject, team = rule.subject, request.principal.team
    what = "end users" if subject.end_user is not None else f"values of tag {str(subject.tag)[:-2]}"
    limit = _apart(rule.distinct)
    seen = LimitRule(
        id=f"{rule.id}:distinct",
        subject=Subject(team=team),
        dimension="requests",
        limit=limit,
        text=f"{rule.distinct:,} {what}/day",
        label=rule.label,
        enforce=rule.enforce,
    )
    member = member_of(rule.id, value_of(subject, request.end_user, request.tags))
    return seen, Charge(f"{{{team}}}:q:{rule.id}:distinct", limit, member, rule.enforce)


def charge_key(
    rule: LimitRule, team: str, end_user: str | None = None, tags: Mapping[str, str] | None = None
) -> str:
    """Return the Redis key of a limit's state.

    The hash tag is the team for every limit that cannot span teams, so that one call's limits live in
    one slot and are decided in one atomic script; else it is the subject's own id. End users and tags are
    a team's own words: a limit on them never spans teams, and counts each value under its hash.

    Args:
        rule: the limit.
        team: id of the team that pays.
        end_user: whom the caller says it calls for.
        tags: what the caller says of the call.
    """
    subject = rule.subject
    if is_per_value(subject):
        return f"{{{team}}}:q:{rule.id}:{opaque(rule.id, value_of(subject, end_user, tags or {}))}"
    if subject.team or subject.key or subject.end_user or subject.tag:
        return f"{{{team}}}:q:{rule.id}"
    spanning = subject.user or subject.alias or subject.target or subject.provider or "global"
    return f"{{{spanning}}}:q:{rule.id}"


def _amount(
    rule: LimitRule, request: CallRequest, alias: Alias, target: Target, estimate: Usage, price: Quote
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


def _bound(rule: LimitRule, request: CallRequest, alias: Alias, target: Target, estimate: Usage) -> Usage:
    cap = output_cap(request, alias, target)
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
        return size.bound(target.model)
    if target.context_window is not None:
        return max(size.bound(target.model), target.context_window)
    if rule.enforce:
        raise ConfigError(
            f"limit {rule.text!r} of {rule.label} is hard, and this call sends {size.unbounded}, of which "
            "nobody can tell how many tokens it is: send its text, or set context_window on the target "
            f"{target.model!r}"
        )
    return size.bound(target.model) + size.file_tokens
