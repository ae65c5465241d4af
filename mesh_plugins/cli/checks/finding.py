"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from mesh_store.model.errors import MeshError

State = Literal["fine", "warning", "failed"]

#: Clocks further apart than this are worth a word; beyond the second, facts are refused and leases end early.
SKEW_S = (1.0, 60.0)


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        state: ``failed`` when something does not work or is about to cost money.
        check: what was looked at.
        found: what was seen there.
        fix: what to do; empty when it is fine.
    """

    state: State
    check: str
    found: str
    fix: str = ""


async def asked(
    check: str, fix: str, look: Callable[..., Awaitable[list[Finding]]], *arguments: Any
) -> list[Finding]:
    """Look, and return it as a finding when there is nobody to ask."""
    from mesh_store.redis.failures import FAILURES

    try:
        return await look(*arguments)
    except (*FAILURES, MeshError) as error:
        return [Finding("failed", check, f"{type(error).__name__}: {error}", fix)]


def skew(check: str, seconds: float, *, uncertain: float) -> Finding:
    """Judge a server's clock.

    Args:
        check: what the finding is called.
        seconds: how far it is ahead of ours, negative when behind.
        uncertain: half of what asking took; that much means nothing.
    """
    apart = max(0.0, abs(seconds) - uncertain)
    said = f"{apart:.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine"
    fix = "let both follow the same time server (chrony, systemd-timesyncd)"
    if apart > SKEW_S[1]:
        return Finding("failed", check, said, fix)
    if apart > SKEW_S[0]:
        return Finding("warning", check, said, fix)
    return Finding("fine", check, "within a second of this machine's")


def ago(age: timedelta) -> str:
    """Return an age as people say it."""
    seconds = max(0, round(age.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
