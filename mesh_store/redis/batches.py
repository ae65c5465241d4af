"""Which requests may share one script call."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_store.redis.asks import Ask
from mesh_store.redis.kinds import Term
from mesh_store.redis.templates import Part

#: The most requests, and the most charges, one script call carries: about 0.2 ms of the server.
MAX_REQUESTS, MAX_CHARGES = 64, 256


class Batch:
    """The ids and limits of requests that share a call; all are of one tag."""

    __slots__ = ("_charges", "_ids", "_limits", "_parts")

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._parts: set[Part] = set()
        self._limits: dict[str, Term] = {}
        self._charges = 0

    def take(self, ask: Ask) -> bool:
        """Add a request if it fits: there is room, its id is new, and equal keys mean equal limits."""
        part, ids = ask.part, self._ids
        charges = self._charges + len(part.terms)
        if len(ids) >= MAX_REQUESTS or charges > MAX_CHARGES or ask.id in ids:
            return False
        if part not in self._parts:
            limits = self._limits
            if not all(_alike(limits.get(term.key, term), term) for term in part.terms):
                return False
            limits.update((term.key, term) for term in part.terms)
            self._parts.add(part)
        ids.add(ask.id)
        self._charges = charges
        return True


def _alike(one: Term, other: Term) -> bool:
    return one is other or (one.enforce is other.enforce and one.limit == other.limit)


def batched(asks: Sequence[Ask]) -> list[list[int]]:
    """Group requests that may share a call, by tag and in their order; return their indexes."""
    groups: list[list[int]] = []
    current: dict[str, tuple[Batch, list[int]]] = {}
    for index, ask in enumerate(asks):
        batch, members = current.get(ask.part.tag) or (None, [])
        if batch is None or not batch.take(ask):
            batch, members = Batch(), []
            # Alone a request always fits: its charges were counted before.
            batch.take(ask)
            current[ask.part.tag] = (batch, members)
            groups.append(members)
        members.append(index)
    return groups
