"""Whether an ordinary call fits into its limits: what never can is told before somebody is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mesh_plugins.core.hooks import Hooks
    from mesh_store.model.snapshot import Alias, KeyEntry, LimitRule, Snapshot, SnapshotDocument, Subject

#: Calls planned at most; each takes some 50 microseconds.
MOST_PLANS = 20_000
_FIX = "raise its burst or amount, set max_output_tokens on the alias, or have callers pass max_tokens"


class Unfit(NamedTuple):
    """A limit into which an ordinary call never fits.

    Attributes:
        limit: as it was said.
        subject: whose it is.
        why: what it lets through at once, which alias's call does not fit, and what that would need.
        fix: what to do.
    """

    limit: str
    subject: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.limit!r} {self.why}"


class Looked(NamedTuple):
    """What looking at limits found.

    Attributes:
        unfit: those into which an ordinary call never fits.
        passed_over: how many were not looked at, because looking at all of them would take too long.
    """

    unfit: list[Unfit]
    passed_over: int


def look(document: SnapshotDocument, keys: Sequence[KeyEntry] = ()) -> Looked:
    """Return each limit into which a call of few words without ``max_tokens`` never fits.

    Args:
        document: the configuration, as callers hold it.
        keys: those whose own limits are looked at, too.
    """
    from mesh_plugins.defaults import builtin_plugins
    from mesh_plugins.manager import load
    from mesh_store.model.snapshot import Snapshot

    snapshot, hooks, plans = Snapshot(document), load((), (), builtin=builtin_plugins()), 0
    found: list[Unfit] = []
    passed_over = 0
    for rule, callers in _rules(snapshot, keys):
        # An amount of 0 is meant to refuse.
        if not rule.enforce or rule.limit.kind not in ("rate", "window") or rule.limit.amount == 0:
            continue
        most = rule.limit.burst if rule.limit.kind == "rate" else rule.limit.amount
        counted = None
        for caller, alias in _bound(document, rule, callers):
            if plans == MOST_PLANS:
                passed_over += 1
                break
            if alias is counted:  # whoever else calls it takes as much
                continue
            plans += 1
            needed = _needed(rule, caller, alias, snapshot, hooks)
            if needed > most:
                found.append(Unfit(rule.text, rule.label, _why(rule, alias, most, needed), _FIX))
                break
            counted = alias if needed else None
    return Looked(found, passed_over)


def passed_over(seen: Looked) -> str:
    """Return the sentence about those that were not looked at."""
    return f"{seen.passed_over:,} limits were not looked at: all of them would take too long"


def _rules(snapshot: Snapshot, keys: Sequence[KeyEntry]) -> Iterator[tuple[LimitRule, Sequence[KeyEntry]]]:
    """Yield every limit with whose calls it may bind."""
    from mesh_store.model.snapshot import KeyEntry

    def some(whose: Subject) -> list[KeyEntry]:
        return [
            KeyEntry(id=whose.key or "", team=team.id, user=whose.user)
            for team in snapshot.document.teams
            if whose.team in (None, team.id)
        ]

    for rule in snapshot.document.limits:
        yield rule, some(rule.subject)
    for key in keys:
        for rule in snapshot.limits_of(key):
            yield rule, [key]


def _bound(
    document: SnapshotDocument, rule: LimitRule, callers: Sequence[KeyEntry]
) -> Iterator[tuple[KeyEntry, Alias]]:
    """Yield whose calls of what a limit may bind, alias by alias; planning says whether it does."""
    for alias in document.aliases:
        if rule.subject.alias not in (None, alias.id):
            continue
        for caller in callers:
            granted = alias.grants is None or caller.team in alias.grants
            if granted and alias.team in (None, caller.team):
                yield caller, alias


def _needed(rule: LimitRule, caller: KeyEntry, alias: Alias, snapshot: Snapshot, hooks: Hooks) -> int:
    """Return what a call would reserve of a limit; 0 where it is not bound or refused for another reason."""
    from mesh_plugins.core.call import CallRequest
    from mesh_plugins.core.measure import PayloadSize
    from mesh_plugins.core.plan import plan_call
    from mesh_store.model.errors import MeshError

    tag, _, value = (rule.subject.tag or "").partition("=")
    request = CallRequest(
        id="",
        operation="embeddings" if alias.operations == ("embeddings",) else "chat",
        alias=alias.name,
        payload={},
        principal=caller,
        size=PayloadSize(text_bytes=1),
        end_user=None if rule.subject.end_user is None else "somebody",
        tags={tag: value} if tag else {},
    )
    try:
        plan = plan_call(request, snapshot, hooks)
    except MeshError:
        return 0
    charged = zip(plan.rules, plan.charges, strict=True)
    return max([charge.amount for each, charge in charged if each.id == rule.id], default=0)


def _why(rule: LimitRule, alias: Alias, most: int, needed: int) -> str:
    return (
        f"lets {_units(rule, most)} through at once; a call of {alias.name!r} "
        f"without max_tokens reserves {_units(rule, needed)}, and never fits"
    )


def _units(rule: LimitRule, amount: int) -> str:
    from mesh_store.model.money import format_usd

    return format_usd(amount) if rule.dimension == "usd" else f"{amount:,} {rule.dimension.replace('_', ' ')}"
