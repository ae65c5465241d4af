"""What processes had to drop, told to Redis, so that somebody hears of it: `mesh doctor` reads it.

What was told is noted in the ring's header. Of a process that died before it told, whoever delivers its
ring tells the rest.
"""

from __future__ import annotations

from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.marks import Mark
from mesh_store.telemetry.watch import reach

PICO_PER_MICRO = 1_000_000


class Losses:
    """Counters of a living process that are told once each."""

    def __init__(self, stream: FactStream, delivery: Delivery) -> None:
        self._stream = stream
        self._delivery = delivery
        self._told: dict[str, int] = {}

    def tell(self) -> None:
        """Add what is new to the shared counters.

        Raises:
            Away: Redis cannot be used now.
        """
        delivery = self._delivery
        tell_lost(self._stream, delivery)
        now = {"damaged": delivery.damaged, "refused": delivery.settlements.refused}
        if now == self._told or not any(now.values()):
            return
        new = {name: count - self._told.get(name, 0) for name, count in now.items()}
        reach(lambda: self._stream.count_lost(new))
        self._told = now


def tell_lost(stream: FactStream, delivery: Delivery) -> None:
    """Add what a ring lost, and was not told yet, to the shared counters.

    Raises:
        Away: Redis cannot be used now.
    """
    ring, lost = delivery.ring, _lost(delivery)
    new = {name: count - ring.mark(told) for (name, told), count in lost.items()}
    if any(new.values()):
        reach(lambda: stream.count_lost(new))
        for (_, told), count in lost.items():
            ring.set_mark(told, count)


def is_told(delivery: Delivery) -> bool:
    """Tell whether everybody can know what a ring lost."""
    return all(count == delivery.ring.mark(told) for (_, told), count in _lost(delivery).items())


def _lost(delivery: Delivery) -> dict[tuple[str, Mark], int]:
    """Return what found no room in a ring, and what only a stream held that was forgotten."""
    mark = delivery.ring.mark
    return {
        ("facts", Mark.TOLD): mark(Mark.DROPPED),
        ("settlements", Mark.TOLD_SETTLEMENTS): mark(Mark.DROPPED_SETTLEMENTS),
        # Micro-USD, or a counter of Redis would end at nine million dollars.
        ("micro_usd", Mark.TOLD_MICRO_USD): mark(Mark.DROPPED_PICO_USD) // PICO_PER_MICRO,
        ("unconfirmed", Mark.TOLD_UNCONFIRMED): delivery.yielded.unconfirmed,
    }
