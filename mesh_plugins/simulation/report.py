"""What a replay says: how many calls each limit would have refused, whose, when, and how full it got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from mesh_plugins.simulation.replay import Decided
from mesh_store.model.money import usd
from mesh_store.model.snapshot import LimitRule, SnapshotDocument

#: Refusals that are listed one by one; all are counted.
MOST_LISTED = 1_000


class _Tally:
    """What happened to one limit."""

    __slots__ = ("at_us", "first_us", "last_us", "peak", "refused", "rule", "whom")

    def __init__(self, rule: LimitRule) -> None:
        self.rule = rule
        self.refused = self.peak = 0
        self.at_us = self.first_us = self.last_us = 0
        self.whom: Counter[str] = Counter()

    def use(self, remaining: int, at_us: int) -> None:
        """Note how much was in use at a moment."""
        used = _whole(self.rule) - remaining
        if used > self.peak:
            self.peak, self.at_us = used, at_us

    def refuse(self, label: str, at_us: int) -> None:
        """Note a call that did not fit."""
        self.refused += 1
        self.first_us = self.first_us or at_us
        self.last_us = at_us
        self.whom[label] += 1

    def row(self) -> dict[str, Any]:
        """Return the limit's line."""
        rule, whole = self.rule, _whole(self.rule)
        amount = usd if rule.dimension == "usd" else int
        return {
            "subject": rule.label,
            "limit": rule.text,
            "dimension": rule.dimension,
            "enforced": rule.enforce,
            "refused": self.refused,
            "peak": amount(self.peak),
            "at_once": amount(whole),
            "peak_percent": round(100 * self.peak / whole, 1) if whole else 0.0,
            "peak_at": _time(self.at_us),
            "first_refused_at": _time(self.first_us),
            "last_refused_at": _time(self.last_us),
            "refused_by_caller": dict(self.whom.most_common(100)),
        }


class Report:
    """Counts decided calls, limit by limit.

    Attributes:
        calls, refused, shadowed, other: how many calls there were, were refused by a limit, would have been
            by one that is not enforced, or were refused by something else (an alias nobody knows, …).
    """

    def __init__(self, document: SnapshotDocument) -> None:
        self.calls = self.refused = self.shadowed = 0
        self.other: Counter[str] = Counter()
        self._tallies = {rule.id: _Tally(rule) for rule in document.limits}
        self._listed: list[dict[str, Any]] = []
        self._span = [0, 0]

    def add(self, decided: Iterable[Decided]) -> Report:
        """Count calls; returns itself."""
        for each in decided:
            self._add(each)
        return self

    def value(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "calls": self.calls,
            "admitted": self.calls - self.refused - sum(self.other.values()),
            "refused": self.refused,
            "would_refuse": self.shadowed,
            "not_decided": dict(sorted(self.other.items())),
            "from": _time(self._span[0]),
            "to": _time(self._span[1]),
            "limits": self.limits(),
            "refusals": self._listed,
        }

    def limits(self) -> list[dict[str, Any]]:
        """Return a line for each limit, those that refused most first."""
        rows = [tally.row() for tally in self._tallies.values()]
        return sorted(rows, key=lambda row: (-row["refused"], -row["peak_percent"], row["subject"]))

    def _add(self, decided: Decided) -> None:
        row, plan, decision = decided.row, decided.plan, decided.decision
        self.calls += 1
        self._span = [self._span[0] or row.at_us, row.at_us]
        if plan is None or decision is None:
            if decided.error is not None:
                self.other[f"{type(decided.error).__name__}: {decided.error}"[:300]] += 1
            return
        whose = _caller(decided)
        for rule, left in zip(plan.rules, decision.remaining, strict=True):
            self._tally(rule).use(left, row.at_us)
        for index in decision.shadow_denied:
            rule = plan.rules[index]
            if not rule.enforce:
                self._tally(rule).refuse(whose, row.at_us)
        self.shadowed += any(not plan.rules[index].enforce for index in decision.shadow_denied)
        if decision.admitted or decision.binding is None:
            return
        self.refused += 1
        rule = plan.rules[decision.binding]
        self._tally(rule).refuse(whose, row.at_us)
        if len(self._listed) < MOST_LISTED:
            self._listed.append(_refusal(decided, rule, whose))

    def _tally(self, rule: LimitRule) -> _Tally:
        found = self._tallies.get(rule.id)
        if found is None:  # how many a limit keeps apart is a limit of its own
            parent = self._tallies[rule.id.removesuffix(":distinct")].rule
            found = self._tallies[rule.id] = _Tally(replace(rule, label=parent.label))
        return found


def _refusal(decided: Decided, rule: LimitRule, whose: str) -> dict[str, Any]:
    decision = decided.decision
    wait = None if decision is None else decision.retry_after_us
    return {
        "at": _time(decided.row.at_us),
        "caller": whose,
        "alias": decided.row.alias,
        "subject": rule.label,
        "limit": rule.text,
        "retry_after_s": None if wait is None else wait / 1e6,
    }


def _caller(decided: Decided) -> str:
    row = decided.row
    words = [f"team {row.team}"]
    words += [f"{name} {value}" for name, value in (("user", row.user), ("key", row.key)) if value]
    return ", ".join(words + ([f"end user {row.end_user}"] if row.end_user else []))


def _whole(rule: LimitRule) -> int:
    return rule.limit.burst if rule.limit.kind == "rate" else rule.limit.amount


def _time(at_us: int) -> str | None:
    if not at_us:
        return None
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000).isoformat()


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a limit's line as a table shows it."""
    peak, whole = row["peak"], row["at_once"]
    money = isinstance(whole, Decimal) or row["dimension"] == "usd"
    used = f"${peak:,.2f} of ${whole:,.2f}" if money else f"{peak:,} of {whole:,}"
    return row | {
        "peak": f"{used} ({row['peak_percent']:g} %)",
        "refused": row["refused"] if row["enforced"] else f"{row['refused']} (shadow)",
    }
