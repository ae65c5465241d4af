"""What one process has for telemetry: a ring, the way into it and the thread that empties it."""

from __future__ import annotations

import time
from pathlib import Path

from mesh_store.redis.stream import FactStream
from mesh_store.telemetry import files
from mesh_store.telemetry.adoption import Adoption
from mesh_store.telemetry.housing import Housing
from mesh_store.telemetry.losses import Losses, is_told
from mesh_store.telemetry.own import OwnDelivery
from mesh_store.telemetry.settling import Settlements, Settler
from mesh_store.telemetry.shipper import Shipper
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.writer import Writer


class Pipeline:
    """A ring with its writer and its shipper; never shared between processes.

    Attributes:
        file, writer, watch, delivery, shipper: its parts, in the order a record meets them.
    """

    def __init__(
        self, home: Path | None, ring_bytes: int, settler: Settler, stream: FactStream, *, ship: bool
    ) -> None:
        self.file = files.create(home, ring_bytes)
        self.writer = Writer(self.file.ring)
        self.watch = Watch(stream)
        settlements = Settlements(settler)
        self.delivery = OwnDelivery(self.file.ring, self.writer, settlements, stream, self.watch)
        losses = Losses(stream, self.delivery)
        self.shipper = Shipper(self.delivery, self.watch, losses)
        if home is not None and files.CAN_LOCK:
            self.shipper.adoption = Adoption(home, settlements, stream, self.watch)
            if self.file.path is None:
                self.shipper.housing = Housing(home, self.file, self.writer, time.monotonic())
        if ship:
            self.shipper.start()

    def close(self, timeout_s: float, still_s: float | None = None) -> None:
        """Ship what can be shipped in time and end the thread; a file with a rest waits for a drain.

        Args:
            timeout_s: seconds to wait at most.
            still_s: give up after so many in which nothing is settled or shipped; None waits all the same.
        """
        still_s = timeout_s if still_s is None else min(still_s, timeout_s)
        deadline = time.monotonic() + timeout_s
        arrived = self._flush(deadline, still_s)
        left = min(still_s, deadline - time.monotonic()) if arrived else 0.0
        if self.shipper.stop(max(0.05, left)):
            ring, delivery = self.file.ring, self.delivery
            arrived = ring.tail >= ring.head and not delivery.yielded.batches
            self.file.close(remove=arrived and is_told(delivery))

    def _flush(self, deadline: float, still_s: float) -> bool:
        """Wait until everything is shipped, as long as some of it is within each ``still_s``."""
        seen = None
        while (moved := (self.delivery.settled, self.delivery.shipped)) != seen:
            seen = moved
            left = deadline - time.monotonic()
            if self.shipper.flush(min(still_s, left)):
                return True
            if left <= still_s:
                return False
        return False
