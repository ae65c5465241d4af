"""What surrounds a decision: whether a server is asked at all, and who answers in its place.

A limiter by itself asks always and hands every failure on. In a `Mesh`, each server that holds limits has a
breaker of its own, and limits it cannot decide go by their policies (`mesh_store.redis.guard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.limits import Decision
from mesh_store.redis.asks import Ask
from mesh_store.redis.steps import Orphaned


class Circuit:
    """The way to one server; this one is always open to calls.

    Attributes:
        name: of the server; charges whose circuits share it are away together.
    """

    name = ""

    def shut(self) -> QuotaUnavailable | None:
        """Return why the server is not asked now; None must be followed by `heard`."""
        return None

    def heard(self, result: Any) -> None:
        """Take in its answer, or the error in place of it."""


class Watch:
    """Surrounds the decisions of one limiter.

    Args:
        orphaned: told of charges that may stand without anybody holding their reservation.
    """

    _always = Circuit()

    def __init__(self, orphaned: Orphaned) -> None:
        self.orphaned = orphaned

    def circuit(self, tag: str) -> Circuit:
        """Return the way to the server that holds a hash tag."""
        return self._always

    def instead(self, asks: Sequence[Ask], error: QuotaUnavailable) -> Decision:
        """Decide what no server could; whatever else the call takes was granted.

        Raises:
            QuotaUnavailable: it is refused.
        """
        raise error
