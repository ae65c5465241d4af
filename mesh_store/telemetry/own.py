"""The delivery of the ring this process writes: it knows which calls are still running.

A running call's intent must stay in the ring, for the drain to find if the process dies. A stream
of ten minutes would hold the tail back for as long, so an intent that is far behind the head is
copied to the head and its old place released.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh_store.model.facts import Asked, Cancel, Done, Intent, LeaseAsked, LeaseEnded
from mesh_store.model.limits import Reservation
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry import records
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.leases import Leases
from mesh_store.telemetry.ready import Read
from mesh_store.telemetry.records import Closed, Known, StoredAsked, StoredClosed, StoredDone, StoredIntent
from mesh_store.telemetry.ring import Ring
from mesh_store.telemetry.settling import Settlements
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.writer import Writer

#: From this share of the ring on, what is in the stream has to yield, down to the other share.
YIELDS_FROM, YIELDS_TO = 0.75, 0.5
#: An intent is moved when it lies further behind the head than one part in so many of the ring.
MOVE_SHARE = 4

# Made once: this is asked of every record.
_ENDINGS = (Done, StoredDone, Closed, StoredClosed)
_QUESTIONS = (Asked, StoredAsked)
_BEGINNINGS = (Intent, StoredIntent, LeaseAsked, *_QUESTIONS)


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

    def make_room(self) -> None:
        """Before the ring is full, give back the memory of what waits in the stream for its commit."""
        ring = self.ring
        if ring.head - ring.tail < ring.capacity * YIELDS_FROM:
            return
        self.committed = self._ranges.reach(self.committed)
        yielded = []
        while self._sent and ring.head - self.committed > ring.capacity * YIELDS_TO:
            sent = self._sent.popleft()
            yielded.append(sent)
            self._ranges.add(sent.start, sent.end)
            self.committed = self._ranges.reach(self.committed)
        self.yielded.add(yielded)
        self._release()

    def _records(self, start: int, end: int) -> Iterator[Read]:
        """Yield the records as they were written where the writer still has them, from the ring elsewhere."""
        fresh, position = self._writer.fresh, start
        while position < end:
            while fresh and fresh[0][0] < position:
                fresh.popleft()
            if fresh and fresh[0][0] == position:
                read = fresh.popleft()
                position = read[1]
                yield read
            else:
                until = min(fresh[0][0], end) if fresh else end
                yield from super()._records(position, until)
                position = until

    def _note(self, at: int, record: Known) -> None:
        if isinstance(record, _ENDINGS):
            if record.closes is not None:
                self.leases.drop(record.closes)
                self._close(record.closes, at)
        elif isinstance(record, LeaseEnded):
            self._close(record.lease.id, at)
        elif isinstance(record, Cancel):
            self._close(record.reservation_id, at)
        elif isinstance(record, _BEGINNINGS):
            if at in self._copies:
                self._copies.discard(at)
            elif isinstance(record, LeaseAsked):
                self._open[record.lease.id] = at
            elif isinstance(record, _QUESTIONS):
                self._open[record.reservation_id] = at
                self._close(record.instead, at)
            else:
                self._begun(at, record)

    def _begun(self, at: int, intent: StoredIntent | Intent) -> None:
        lost = intent.lost.id if isinstance(intent, Intent) else records.fact_id(intent.lost)
        self._open[lost] = at
        if intent.reservation is not None:
            held = (intent.reservation, *intent.also)
            for each in held:
                self._close(each.id, at)
            self.leases.hold(
                lost, [each if isinstance(each, Reservation) else each.revive() for each in held]
            )

    def _close(self, opened: str, at: int) -> None:
        place = self._open.pop(opened, -1)
        if place > at:
            # Its copy lies behind this record: whoever finds the copy must find this too.
            self._holds.append((at, place))

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
