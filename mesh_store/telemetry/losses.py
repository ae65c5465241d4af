"""What processes had to drop, told to Redis, so that somebody hears of it: `mesh doctor` reads it.

What was told is noted in the ring's header. Of a process that died before it told, whoever delivers its
ring tells the rest.
"""

from __future__ import annotations

from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.marks import Mark
from mesh_store.telemetry.ring import Ring
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
        tell_dropped(self._stream, delivery.ring)
        now = {
            "damaged": delivery.damaged,
            "refused": delivery.settlements.refused,
            "unconfirmed": delivery.yielded.unconfirmed,
        }
        if now == self._told or not any(now.values()):
            return
        new = {name: count - self._told.get(name, 0) for name, count in now.items()}
        reach(lambda: self._stream.count_lost(new))
        self._told = now


def tell_dropped(stream: FactStream, ring: Ring) -> None:
    """Add what found no room in a ring, and was not told yet, to the shared counters.

    Raises:
        Away: Redis cannot be used now.
    """
    dropped = {
        ("facts", Mark.TOLD): ring.mark(Mark.DROPPED),
        ("settlements", Mark.TOLD_SETTLEMENTS): ring.mark(Mark.DROPPED_SETTLEMENTS),
        # Micro-USD, or a counter of Redis would end at nine million dollars.
        ("micro_usd", Mark.TOLD_MICRO_USD): ring.mark(Mark.DROPPED_PICO_USD) // PICO_PER_MICRO,
    }
    new = {name: count - ring.mark(told) for (name, told), count in dropped.items()}
    if any(new.values()):
        reach(lambda: stream.count_lost(new))
        for (_, told), count in dropped.items():
            ring.set_mark(told, count)
