"""One ring's way to Postgres, as four positions that only move forward (the third may be taken back).

::

    tail ≤ committed ≤ shipped ≤ settled ≤ head

Records are *settled* in order (Redis answered), *shipped* in order (one stream entry per batch; never
before their settlement, or a collector could close a budget entry that the settlement then reopens),
*committed* by collectors in any order and reported as ranges. The tail is the first position that
is not yet committed or that an open intent needs. When entries are lost, `shipped` goes back to
`committed` and the facts are sent again; Postgres knows them by their id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from mesh_store.model.facts import Asked, Cancel, LeaseEnded, Settlement, SlotsMoved
from mesh_store.redis.stream import Batch, FactStream
from mesh_store.telemetry import records, spending
from mesh_store.telemetry.ranges import Ranges
from mesh_store.telemetry.ready import Encoded, Meaning, Part, Read, Ready
from mesh_store.telemetry.records import Known, StoredAsked
from mesh_store.telemetry.ring import Mark, Ring
from mesh_store.telemetry.settling import Settlements
from mesh_store.telemetry.spending import Spending, spending_of
from mesh_store.telemetry.watch import Watch, reach
from mesh_store.telemetry.yielding import Sent, Yielded

#: Facts and bytes of one stream entry at most.
BATCH_FACTS = 512
BATCH_BYTES = 256 * 1024
#: Seconds a fact may wait for company before its entry is sent.
LINGER_S = 0.1
#: Seconds an entry may be missing from the stream, unacknowledged, before it is sent again.
GONE_S = 5.0
#: Records settled in one round trip, and in one step, so that shipping gets its turn. In a process whose
#: threads all compute, each wait for a reply costs a turn of the interpreter for each of them.
SETTLED_AT_ONCE = 512
STEP = 4_096

_NOTHING: Meaning = (None, None, None)
_OF_LEASES = (LeaseEnded, SlotsMoved)
_GIVING_BACK = (Cancel, Asked, StoredAsked)


class Delivery:
    """Brings the records of a live ring, one owned by this process, to their destination.

    Attributes:
        settled, shipped, committed: positions, see above.
        damaged: stretches of the ring that could not be read.
        facts: facts put into the stream, repeats included.
        resends: how often shipping went back.
        yielded: what only the stream holds any more.
    """

    def __init__(self, ring: Ring, settlements: Settlements, stream: FactStream, watch: Watch) -> None:
        self.ring = ring
        self.settlements = settlements
        self.settled = ring.mark(Mark.SETTLED)
        self.shipped = ring.mark(Mark.SHIPPED)
        self.committed = ring.tail
        self.damaged = 0
        self.facts = 0
        self.resends = 0
        self.yielded = Yielded(ring)
        self._stream = stream
        self._watch = watch
        self._server = ring.mark(Mark.SERVER)
        self._ranges = Ranges()
        self._sent: deque[Sent] = deque()
        self._oldest: Sent | None = None
        self._waiting_since: float | None = None
        self._ready = Ready()
        #: Settlements before this position were answered already, by whoever delivered this ring before.
        self._answered = 0

    @property
    def unshipped(self) -> bool:
        """True while a record is not settled or not in the stream."""
        return self.shipped < self.ring.head

    @property
    def unacknowledged(self) -> bool:
        """True while an entry waits for its commit."""
        return bool(self._sent or self.yielded.batches)

    @property
    def collected(self) -> int:
        """Everything before is in Postgres."""
        return self.yielded.batches[0].start if self.yielded.batches else self.committed

    def settle(self) -> None:
        """Settle the next records; one that Redis does not answer is the next one again.

        Raises:
            Away: Redis cannot be used now.
        """
        head = self.ring.head
        records = self._records(self.settled, head)
        for _ in range(STEP // SETTLED_AT_ONCE):
            read = list(islice(records, SETTLED_AT_ONCE))
            if len(read) < SETTLED_AT_ONCE:
                self._settle(read, head)
                return
            self._settle(read, read[-1][1])

    def ship(self, now: float, *, force: bool = False) -> bool:
        """Put one batch of settled facts into the stream; False when none is due.

        Raises:
            Away: Redis cannot be used now.
        """
        if self.shipped >= self.settled:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        due = now - self._waiting_since >= LINGER_S or self.settled - self.shipped >= BATCH_BYTES
        if not (due or force):
            return False
        self.look(now)
        if self._watch.full:
            return False
        start = self.shipped
        part = self._ready.take(start, BATCH_FACTS, BATCH_BYTES) or self._read_again(start)
        _, end, facts, spendings, _ = part
        if facts or spendings:
            batch = self._batch(start, end, facts, spendings)
            entry = reach(lambda: self._stream.add(batch))
            self._watch.sent(len(batch.body) + len(batch.money))
            self._sent.append(Sent(start, end, entry, len(facts)))
            self.ring.set_mark(Mark.ENTRY_MS, entry.ms)
            self.ring.set_mark(Mark.ENTRY_SEQUENCE, entry.sequence)
            self.facts += len(facts)
        else:
            self._ranges.add(start, end)
        self._shipped_up_to(end)
        self._waiting_since = None
        return True

    def acknowledge(self, now_us: int) -> None:
        """Learn what was committed, release it, and send again what was lost on the way.

        Raises:
            Away: Redis cannot be used now.
        """
        identity = self.ring.identity
        done = []
        if self.unacknowledged:
            done = reach(lambda: self._stream.committed(identity.ring, identity.generation))
        self.yielded.confirm(done)
        for start, end in done:
            self._ranges.add(start, end)
        self.committed = self._ranges.reach(self.committed)
        sent, reach_from = self._sent, self._ranges.reach
        while sent and reach_from(max(sent[0].start, self.committed)) >= sent[0].end:
            sent.popleft()
        self._release()
        self._ranges.drop_before(self.committed)
        taken = [start for start, end in done if end <= self.committed]
        reach(lambda: self._stream.forget(identity.ring, identity.generation, taken))
        oldest = next(iter(self.yielded.batches or self._sent), None)
        if oldest is not None and oldest is self._oldest:  # while entries come and go, none is missing
            self._look_for(oldest, now_us)
        elif self._oldest is not None and self.ring.mark(Mark.GONE_SINCE_US):
            self.ring.set_mark(Mark.GONE_SINCE_US, 0)
        self._oldest = oldest

    def look(self, now: float) -> None:
        """Look at the server; another one than before may not have what the first one took."""
        self._watch.look(now)
        in_doubt = self.shipped > self.committed or self.yielded.batches
        if in_doubt and self._server and self._watch.fingerprint != self._server:
            self._send_again()
        self._server = self._watch.fingerprint
        self.ring.set_mark(Mark.SERVER, self._server)

    def _settle(self, read: list[Read], end: int) -> None:
        """Settle what was read, in as few calls as that takes, and note that it is.

        What a lease's end says holds between the records before and after it: calls that ended under
        the lease, and calls that outlived it.
        """
        facts: list[Encoded] = []
        spendings: list[Spending] = []
        due: list[Settlement] = []
        cancelled: list[Cancel] = []
        for at, _, payload, record in read:
            if isinstance(record, _OF_LEASES):
                self.settlements.settle_all(due)
                due = []
                if at >= self._answered:
                    self.settlements.lease(record)
            elif isinstance(record, _GIVING_BACK):
                if (cancel := self._cancel_of(at, record)) is not None:
                    cancelled.append(cancel)
            elif record is not None:
                settlement, fact, spending = self._meaning(at, payload, record)
                if settlement is not None:
                    due.append(settlement)
                if fact is not None:
                    facts.append(fact)
                if spending is not None:
                    spendings.append(spending)
        self.settlements.settle_all(due)
        for cancel in cancelled:
            self.settlements.cancel(cancel.reservation_id, cancel.charges)
        self._note_all(read)
        self._ready.add(Part(self.settled, end, facts, spendings, sum(map(len, facts))))
        self._settled_up_to(end)

    def _records(self, start: int, end: int) -> Iterator[Read]:
        """Yield the records between two positions; None where one cannot be read."""
        for at, after, payload in self.ring.frames(start, end):
            yield at, after, payload or b"", None if payload is None else records.decode(payload)

    def _meaning(self, at: int, payload: bytes, record: Known) -> Meaning:
        """Return what a record asks for: what to settle, what to ship, and what budgets were charged."""
        fact, settlement = records.fact_and_settlement(record, payload)
        if settlement is None:
            return None, fact, None
        spent = None
        if b"window" in payload:  # most calls charge no budget, and their records do not say the word
            spent = spending_of(settlement, None if fact is None else records.fact_id(fact) or None)
        return settlement if at >= self._answered else None, fact, spent

    def _cancel_of(self, at: int, record: Known) -> Cancel | None:
        """Return what a record gives back, or None."""
        return record if isinstance(record, Cancel) and at >= self._answered else None

    def _note_all(self, read: list[Read]) -> None:
        for at, _, _, record in read:
            if record is None:
                self.damaged += 1
            else:
                self._note(at, record)

    def _note(self, at: int, record: Known) -> None:
        """Take note of a record that is settled."""

    def _first_needed(self, position: int) -> int:
        """Return how far the tail may go when everything before ``position`` has arrived."""
        return position

    def _release(self) -> None:
        tail = self._first_needed(min(self.settled, self.committed))
        if tail > self.ring.tail:
            self.ring.release(tail)

    def _settled_up_to(self, position: int) -> None:
        self.settled = position
        self.ring.set_mark(Mark.SETTLED, position)

    def _shipped_up_to(self, position: int) -> None:
        self.shipped = position
        self.ring.set_mark(Mark.SHIPPED, position)

    def _read_again(self, start: int) -> Part:
        """Return the next batch's worth of what is settled, from the ring."""
        facts: list[Encoded] = []
        spendings: list[Spending] = []
        size, end = 0, self._ready.start or self.settled
        for at, after, payload, record in Delivery._records(self, start, end):
            _, fact, spending = _NOTHING if record is None else self._meaning(at, payload, record)
            if fact is not None:
                facts.append(fact)
                size += len(fact)
            if spending is not None:
                spendings.append(spending)
            if len(facts) == BATCH_FACTS or size >= BATCH_BYTES:
                return Part(start, after, facts, spendings, size)
        return Part(start, end, facts, spendings, size)

    def _batch(self, start: int, end: int, facts: list[Encoded], spendings: list[Spending]) -> Batch:
        identity = self.ring.identity
        body, money = records.join(facts), spending.encode(spendings)
        return Batch(identity.ring, identity.generation, start, end, len(facts), body, money)

    def _look_for(self, oldest: Sent, now_us: int) -> None:
        """Send again what was passed by and not acknowledged for a while: it went missing from the stream."""
        there = oldest.entry >= reach(lambda: self._stream.reached(self.ring.identity.ring))
        since = self.ring.mark(Mark.GONE_SINCE_US)
        if there or not since or now_us < since:  # the clock went back, and passes it again only in so long
            self.ring.set_mark(Mark.GONE_SINCE_US, 0 if there else now_us)
        elif now_us - since >= GONE_S * 1_000_000:
            self._send_again()

    def _send_again(self) -> None:
        self.resends += 1
        self.yielded.doubt()
        self._sent.clear()
        self._oldest = None
        self._ready.clear()
        self._shipped_up_to(self.committed)
        self.ring.set_mark(Mark.GONE_SINCE_US, 0)
