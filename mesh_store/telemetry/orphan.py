"""The delivery of a ring whose process is gone: its running calls become ``lost`` facts.

An intent that no later record closes is settled at what was reserved, and the fact that was written
with it goes into the stream. A question about budgets that no later record closes is cancelled: whether it
was granted or not, nothing was sent. The fact's id was minted with the intent, so two drains of one ring
produce the same fact, and Postgres takes it once.
"""

from __future__ import annotations

from mesh_store.model.facts import Cancel, LeaseAsked, LeaseEnded
from mesh_store.model.limits import Reservation
from mesh_store.redis.stream import EntryId, FactStream
from mesh_store.telemetry import records
from mesh_store.telemetry.delivery import Delivery
from mesh_store.telemetry.files import RingFile
from mesh_store.telemetry.ready import Meaning
from mesh_store.telemetry.records import Known, StoredAsked, StoredIntent
from mesh_store.telemetry.ring import Mark, Ring
from mesh_store.telemetry.settling import Settlements
from mesh_store.telemetry.spending import spending_of
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.yielding import Sent


class OrphanDelivery(Delivery):
    """A `Delivery` of a ring that nobody writes any more.

    Attributes:
        file: the ring's file, locked for us.
        lost: calls that were running when the process died.
    """

    def __init__(self, file: RingFile, settlements: Settlements, stream: FactStream, watch: Watch) -> None:
        ring = file.ring
        super().__init__(ring, settlements, stream, watch)
        self.file = file
        self.lost = 0
        self._answered = ring.mark(Mark.SETTLED)
        self._closed_before = ring.mark(Mark.CLOSED)
        self._open = _open_intents(ring)
        self._leases: dict[int, Reservation] = {}
        self.settled = ring.tail
        earlier = EntryId(ring.mark(Mark.ENTRY_MS), ring.mark(Mark.ENTRY_SEQUENCE))
        if any(place >= self._closed_before for place in self._open.values()):
            self.shipped = ring.tail
        if self.shipped > ring.tail:
            # What was shipped is not sent again as long as it is still on its way.
            self._sent.append(Sent(ring.tail, self.shipped, earlier))

    @property
    def delivered(self) -> bool:
        """True when Postgres has everything, or nobody will ever know: the file may go."""
        return self.ring.tail >= self.ring.head and not self.yielded.batches

    def settle(self) -> None:
        """Settle the next records, and after the last of them close the slices nobody ended.

        By then the calls that drew from a slice have entries of their own in its budgets.
        """
        super().settle()
        if self.settled >= self.ring.head:
            for place, lease in list(self._leases.items()):
                self.settlements.lease(LeaseEnded.abandoned(lease))
                del self._leases[place]

    def _first_needed(self, position: int) -> int:
        return min([position, *self._leases])

    def _meaning(self, at: int, payload: bytes, record: Known) -> Meaning:
        if not isinstance(record, StoredIntent):
            return super()._meaning(at, payload, record)
        lost = records.fact_id(record.lost)
        if not self._is_lost(at, lost):
            return None, None, None
        if record.reservation is None:
            return None, record.lost, None
        settlement = records.kept(record.reservation.revive())
        due = settlement if self._is_found_lost(at, record) else None
        return due, record.lost, spending_of(settlement, lost)

    def _note(self, at: int, record: Known) -> None:
        if isinstance(record, StoredIntent) and self._is_found_lost(at, record):
            self.lost += 1
        elif isinstance(record, LeaseAsked) and self._is_lost(at, record.lease.id):
            self._leases[at] = record.lease

    def _cancel_of(self, at: int, record: Known) -> Cancel | None:
        if isinstance(record, StoredAsked) and self._is_lost(at, record.reservation_id):
            return record.cancel()
        return super()._cancel_of(at, record)

    def _is_found_lost(self, at: int, intent: StoredIntent) -> bool:
        """Tell whether this drain is the first to find that a call was lost."""
        return at >= self._closed_before and self._is_lost(at, records.fact_id(intent.lost))

    def _is_lost(self, at: int, intent: str) -> bool:
        return self._open.get(intent) == at

    def _settled_up_to(self, position: int) -> None:
        self.settled = position
        if position > self.ring.mark(Mark.SETTLED):
            self.ring.set_mark(Mark.SETTLED, position)

    def _shipped_up_to(self, position: int) -> None:
        super()._shipped_up_to(position)
        if position > self.ring.mark(Mark.CLOSED):
            self.ring.set_mark(Mark.CLOSED, position)


def _open_intents(ring: Ring) -> dict[str, int]:
    """Return where the intents lie that nothing closes; of a moved one, the copy."""
    places: dict[str, int] = {}
    closed: set[str] = set()
    for frame in ring.frames(ring.tail, ring.head):
        begun, ended = (None, ()) if frame.payload is None else records.begins_or_ends(frame.payload)
        if begun is not None:
            places[begun] = frame.start
        closed.update(ended)
    return {intent: place for intent, place in places.items() if intent not in closed}
