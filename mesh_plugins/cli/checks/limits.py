"""Whether an ordinary call fits into its limits: what never can is told before somebody is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mesh_plugins.cli.checks.finding import Finding

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_plugins.core.hooks import Hooks
    from mesh_store.model.snapshot import Alias, LimitRule, Snapshot, SnapshotDocument, Team

#: Calls planned at most; each takes some 50 microseconds.
_MOST_PLANS = 20_000
_FIX = "raise its burst or amount, set max_output_tokens on the alias, or have callers pass max_tokens"


async def limits(redis: Redis) -> list[Finding]:
    """Look for limits that no call fits into unless its caller says how little it wants."""
    from mesh_store.model.errors import ConfigError
    from mesh_store.model.signing import unseal
    from mesh_store.model.snapshot import decode
    from mesh_store.redis.config_channel import aread_snapshot

    sealed = await aread_snapshot(redis)
    try:
        document = None if sealed is None else decode(unseal("snapshot", sealed).body)
    except ConfigError:
        document = None
    if document is None:  # which is a finding about the configuration
        return []
    return too_small(document) or [Finding("fine", "limits", "an ordinary call fits into each")]


def too_small(document: SnapshotDocument) -> list[Finding]:
    """Return a warning for each limit into which a call of few words without ``max_tokens`` never fits."""
    from mesh_plugins.defaults import builtin_plugins
    from mesh_plugins.manager import load
    from mesh_store.model.snapshot import Snapshot

    snapshot, hooks, plans = Snapshot(document), load((), (), builtin=builtin_plugins()), 0
    findings: list[Finding] = []
    for rule in document.limits:
        # An amount of 0 is meant to refuse.
        if not rule.enforce or rule.limit.kind not in ("rate", "window") or rule.limit.amount == 0:
            continue
        most = rule.limit.burst if rule.limit.kind == "rate" else rule.limit.amount
        for team, alias in _bound(document, rule):
            plans += 1
            if plans > _MOST_PLANS:
                return findings
            if (needed := _needed(rule, team, alias, snapshot, hooks)) > most:
                findings.append(_warning(rule, alias, most, needed))
                break
    return findings


def _bound(document: SnapshotDocument, rule: LimitRule) -> Iterator[tuple[Team, Alias]]:
    """Yield whose calls of what a limit may bind; planning says whether it does."""
    for team in document.teams:
        if rule.subject.team in (None, team.id):
            for alias in document.aliases:
                if rule.subject.alias in (None, alias.id) and alias.team in (None, team.id):
                    yield team, alias


def _needed(rule: LimitRule, team: Team, alias: Alias, snapshot: Snapshot, hooks: Hooks) -> int:
    """Return what a call would reserve of a limit; 0 where it is not bound or refused for another reason."""
    from mesh_plugins.core.call import CallRequest
    from mesh_plugins.core.measure import PayloadSize
    from mesh_plugins.core.plan import plan_call
    from mesh_store.model.errors import MeshError
    from mesh_store.model.snapshot import KeyEntry

    subject = rule.subject
    tag, _, value = (subject.tag or "").partition("=")
    request = CallRequest(
        id="",
        operation="embeddings" if alias.operations == ("embeddings",) else "chat",
        alias=alias.name,
        payload={},
        principal=KeyEntry(id=subject.key or "", team=team.id, user=subject.user),
        size=PayloadSize(text_bytes=1),
        end_user=None if subject.end_user is None else "somebody",
        tags={tag: value} if tag else {},
    )
    try:
        plan = plan_call(request, snapshot, hooks)
    except MeshError:
        return 0
    charged = zip(plan.rules, plan.charges, strict=True)
    return max([charge.amount for each, charge in charged if each.id == rule.id], default=0)


def _warning(rule: LimitRule, alias: Alias, most: int, needed: int) -> Finding:
    said = (
        f"{rule.label}: {rule.text!r} lets {_units(rule, most)} through at once; a call of {alias.name!r} "
        f"without max_tokens reserves {_units(rule, needed)}, and never fits"
    )
    return Finding("warning", "limits", said, _FIX)


def _units(rule: LimitRule, amount: int) -> str:
    from mesh_store.model.money import format_usd

    return format_usd(amount) if rule.dimension == "usd" else f"{amount:,} {rule.dimension.replace('_', ' ')}"
