"""What this process had to drop, told to Redis, so that somebody hears of it: `mesh doctor` reads it."""

from __future__ import annotations

from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.watch import reach
from mesh_store.telemetry.writer import Counts


class Losses:
    """Counters that are told once each."""

    def __init__(self, stream: FactStream, counts: Counts, delivery: Delivery) -> None:
        self._stream = stream
        self._counts = counts
        self._delivery = delivery
        self._told: dict[str, int] = {}

    def tell(self) -> None:
        """Add what is new to the shared counters.

        Raises:
            Away: Redis cannot be used now.
        """
        now = {
            "facts": self._counts.dropped,
            "settlements": self._counts.dropped_settlements,
            "damaged": self._delivery.damaged,
            "refused": self._delivery.settlements.refused,
        }
        if now == self._told or not any(now.values()):
            return
        new = {name: count - self._told.get(name, 0) for name, count in now.items()}
        reach(lambda: self._stream.count_lost(new))
        self._told = now
