"""Which requests may share one script call."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_store.model.limits import Charge
from mesh_store.redis.wire import Ask

#: The most requests, and the most charges, one script call carries: about 0.2 ms of the server.
MAX_REQUESTS, MAX_CHARGES = 64, 256


class Batch:
    """The ids and limits of requests that share a call; all are of one tag."""

    __slots__ = ("_charges", "_ids", "_limits")

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._limits: dict[str, Charge] = {}
        self._charges = 0

    def take(self, ask: Ask) -> bool:
        """Add a request if it fits: there is room, its id is new, and equal keys mean equal limits."""
        charges = self._charges + len(ask.terms)
        if len(self._ids) >= MAX_REQUESTS or charges > MAX_CHARGES or ask.id in self._ids:
            return False
        limits = self._limits
        for term in ask.terms:
            charge = term.charge
            known = limits.get(charge.key)
            if known is not None and not _alike(known, charge):
                return False
        for term in ask.terms:
            limits[term.charge.key] = term.charge
        self._ids.add(ask.id)
        self._charges = charges
        return True


def _alike(one: Charge, other: Charge) -> bool:
    return one.enforce is other.enforce and (one.limit is other.limit or one.limit == other.limit)


def batched(asks: Sequence[Ask]) -> list[list[int]]:
    """Group requests that may share a call, by tag and in their order; return their indexes."""
    groups: list[list[int]] = []
    current: dict[str, tuple[Batch, list[int]]] = {}
    for index, ask in enumerate(asks):
        batch, members = current.get(ask.tag) or (None, [])
        if batch is None or not batch.take(ask):
            batch, members = Batch(), []
            # Alone a request always fits: its charges were counted before.
            batch.take(ask)
            current[ask.tag] = (batch, members)
            groups.append(members)
        members.append(index)
    return groups
