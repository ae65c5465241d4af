"""What a producer keeps an eye on: which server it talks to, and how full that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mesh_store.redis.failures import FAILURES
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.settling import Away

#: Share of ``maxmemory`` above which facts stay in the ring: a backlog must not fill the server that
#: also holds the limits. Settlements go on.
FACTS_STOP = 0.70
#: Seconds between two looks at the server while there is something to deliver.
INTERVAL_S = 1.0
#: Of the memory left up to that share, the part one producer sends before it looks again: others send, too.
SENT_SHARE = 32

T = TypeVar("T")


class Watch:
    """The server behind a `FactStream`, looked at once a second, and sooner the faster it fills.

    Attributes:
        fingerprint: of the server seen last; 0 before the first look.
        full: True while facts have to wait.
    """

    def __init__(self, stream: FactStream) -> None:
        self._stream = stream
        self._looked_at = float("-inf")
        self._sent = 0
        self._may_send = float("inf")
        self.fingerprint = 0
        self.full = False

    def look(self, now: float) -> None:
        """Look when the last look is too old.

        Raises:
            Away: when there is no server to look at.
        """
        if now - self._looked_at < INTERVAL_S and self._sent <= self._may_send:
            return
        state = reach(self._stream.server)
        self._looked_at, self._sent = now, 0
        self.fingerprint = state.fingerprint
        self.full = state.memory_share >= FACTS_STOP
        room = max(0.0, FACTS_STOP - state.memory_share) * state.memory
        self._may_send = room / SENT_SHARE if state.memory else float("inf")

    def sent(self, size: int) -> None:
        """Note that so many bytes were added to the stream."""
        self._sent += size

    def doubt(self) -> None:
        """Look again before anything else is sent: a connection broke."""
        self._looked_at = float("-inf")


def reach(call: Callable[[], T]) -> T:
    """Make a call to Redis, with every way it can fail as `Away`."""
    try:
        return call()
    except FAILURES as error:
        raise Away(f"{type(error).__name__}: {error}") from error
