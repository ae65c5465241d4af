"""Labels that cannot grow without bound: what is used first keeps its name, the rest is ``other``.

Who calls, with which key and for which end user is never a label; neither is a name a caller made up.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh_store.model.facts import Fact

#: Different values a label may have, `OTHER` not counted.
MOST = 200
OTHER = "other"
#: What callers wrote that no alias is called.
UNKNOWN = "unknown"


class Bounded:
    """The values of one label; the first so many are kept."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value, or `OTHER` when there are too many already."""
        if value in self._seen:
            return value
        if len(self._seen) >= self._most:
            return OTHER
        self._seen.add(value)
        return value


class Labels(NamedTuple):
    """All that a metric may tell facts apart by; ids and configured names only."""

    team: str
    alias: str
    provider: str
    model: str
    operation: str
    outcome: str
    error: str


class Labelling:
    """Makes the labels of facts, each bounded."""

    def __init__(self, most: int = MOST) -> None:
        self._bounds = tuple(Bounded(most) for _ in Labels._fields)

    def __call__(self, fact: Fact) -> Labels:
        """Return a fact's labels."""
        values = (
            fact.team_id,
            fact.alias if fact.alias_id is not None else UNKNOWN,
            fact.provider or "",
            fact.request_model or "",
            fact.operation,
            fact.outcome,
            fact.error_type or "",
        )
        return Labels(*[bound(value) for bound, value in zip(self._bounds, values, strict=True)])
