"""LiteLLM's budgets and rates as limits' texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from mesh_store.admin.manifest.faults import Path
from mesh_store.admin.manifest.litellm_config.notes import Notes
from mesh_store.model.errors import Rejected
from mesh_store.model.limit_text import parse_terms

#: LiteLLM's units of a duration, and ours.
_UNITS = {"s": "s", "m": "min", "h": "hour", "d": "day", "w": "week", "mo": "month"}

#: Fields of deployments, teams, users and keys that count something per minute, and what.
_RATES = {
    "rpm": "requests/min",
    "tpm": "tokens/min",
    "itpm": "input tokens/min",
    "otpm": "output tokens/min",
    "rpm_limit": "requests/min",
    "tpm_limit": "tokens/min",
    "tpd_limit": "tokens/day",
    "max_parallel_requests": "concurrent",
    "global_max_parallel_requests": "concurrent",
}
#: Fields `limits_of` reads.
FIELDS = frozenset({*_RATES, "max_budget", "budget_duration", "budget_limit", "time_period", "soft_budget"})


def limits_of(said: Mapping[str, Any], path: Path, notes: Notes) -> Iterator[str]:
    """Yield the limits that a deployment, team, user or key has, as text.

    Args:
        said: its fields.
        path: where they stand.
        notes: told what cannot be a limit.
    """
    for name, unit in _RATES.items():
        if (amount := said.get(name)) is not None and (text := _checked(f"{amount} {unit}")):
            yield text
        elif amount is not None:
            notes.add((*path, name), f"{amount!r} is no amount")
    budget_name = "max_budget" if said.get("max_budget") is not None else "budget_limit"
    budget = said.get(budget_name)
    if budget is not None:
        duration_name = "budget_duration" if said.get("budget_duration") else "time_period"
        yield from _budget((budget_name, budget), (duration_name, said.get(duration_name)), path, notes)
    if said.get("soft_budget") is not None:
        notes.add((*path, "soft_budget"), "a warning, not a limit; make one with enforce: false beside it")


def period_of(duration: object) -> str | None:
    """Return what stands behind the slash for ``30d``, or None when it cannot be read."""
    match = re.fullmatch(r"(\d*)\s*(s|mo|m|h|d|w)", str(duration).strip())
    if match is None:
        return None
    count, unit = match[1] or "1", _UNITS[match[2]]
    return unit if count == "1" else f"{count} {unit}"


def _budget(amount: tuple[str, Any], duration: tuple[str, Any], path: Path, notes: Notes) -> Iterator[str]:
    period = None if duration[1] is None else period_of(duration[1])
    if duration[1] is None:
        notes.add(
            (*path, amount[0]),
            "it never starts anew in LiteLLM; here it does every year, change that as you like",
        )
        period = "year"
    elif period is None:
        notes.add((*path, duration[0]), f"{duration[1]!r} is no duration")
        return
    money = _money(amount[1])
    if money is not None and (text := _checked(f"${money}/{period}")):
        yield text
    else:
        notes.add((*path, amount[0]), f"{amount[1]!r} is no amount of USD")


def _money(amount: object) -> str | None:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        return None
    return f"{Decimal(str(amount)):f}"


def _checked(text: str) -> str | None:
    try:
        return parse_terms(text).text
    except Rejected:
        return None
