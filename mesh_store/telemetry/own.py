"""The delivery of the ring this process writes: it knows which calls are still running.

A running call's intent must stay in the ring, for the drain to find if the process dies. A stream
of ten minutes would hold the tail back for as long, so an intent that is far behind the head is
copied to the head and its old place released.
"""

from __future__ import annotations

from mesh_store.model.facts import LeaseAsked, LeaseEnded
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry import records
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.leases import Leases
from mesh_store.telemetry.records import Stored, StoredClosed, StoredDone, StoredIntent
from mesh_store.telemetry.ring import Frame, Ring
from mesh_store.telemetry.settling import Settlements
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.writer import Writer

#: An intent is moved when it lies further behind the head than one part in so many of the ring.
MOVE_SHARE = 4


class OwnDelivery(Delivery):
    """A `Delivery` that keeps open intents within the ring, and the slots of running calls.

    Attributes:
        leases: of the calls that run.
    """

    def __init__(
        self, ring: Ring, writer: Writer, settlements: Settlements, stream: FactStream, watch: Watch
    ) -> None:
        super().__init__(ring, settlements, stream, watch)
        self.leases = Leases(settlements)
        self._writer = writer
        self._open: dict[str, int] = {}
        self._copies: set[int] = set()
        self._holds: list[tuple[int, int]] = []

    @property
    def open_intents(self) -> int:
        """Calls that are running, as far as the ring has been read."""
        return len(self._open)

    def _note(self, frame: Frame, record: Stored) -> None:
        match record:
            case StoredIntent():
                if frame.start in self._copies:
                    self._copies.discard(frame.start)
                else:
                    intent = records.fact_id(record.lost)
                    self._open[intent] = frame.start
                    if record.reservation is not None:
                        held = (record.reservation, *record.also)
                        self.leases.hold(intent, [each.revive() for each in held])
            case LeaseAsked():
                if frame.start in self._copies:
                    self._copies.discard(frame.start)
                else:
                    self._open[record.lease.id] = frame.start
            case StoredDone(closes=str(intent)) | StoredClosed(closes=str(intent)):
                self.leases.drop(intent)
                self._close(intent, frame)
            case LeaseEnded():
                self._close(record.lease.id, frame)
            case _:
                pass

    def _close(self, opened: str, frame: Frame) -> None:
        place = self._open.pop(opened, -1)
        if place > frame.start:
            # Its copy lies behind this record: whoever finds the copy must find this too.
            self._holds.append((frame.start, place))

    def _first_needed(self, position: int) -> int:
        self._move_stragglers(position)
        needed = min(position, min(self._open.values(), default=position))
        for closing, copy in sorted(self._holds, reverse=True):
            if closing < needed <= copy:
                needed = closing
        self._holds = [hold for hold in self._holds if hold[1] >= needed]
        return needed

    def _move_stragglers(self, position: int) -> None:
        ring = self.ring
        far = ring.head - ring.capacity // MOVE_SHARE
        for intent, place in list(self._open.items()):
            if place >= min(far, position):
                continue
            frame = next(ring.frames(place, place + 1), None)
            copy = self._writer.move(frame.payload) if frame and frame.payload else None
            if copy is None:
                return
            self._copies.add(copy)
            self._open[intent] = copy
