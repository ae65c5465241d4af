"""The only way into a ring: one writer at a time, whoever calls and from wherever.

Threads wait for a lock that is held for about a microsecond. The same thread can come back while it
holds the lock (a signal handler, a ``__del__`` run by the garbage collector): it must not wait for
itself, so its record goes to a side queue that the interrupted write empties before it returns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mesh_store.model.facts import Asked, Cancel, Done, Fact, Intent
from mesh_store.telemetry.records import Closed, closed
from mesh_store.telemetry.ring import Mark, Ring, frame_size

#: One part in so many of the ring is kept for settlements when facts have filled the rest.
RESERVED_SHARE = 8
#: One record takes at most one part in so many of the ring.
LARGEST_SHARE = 8
#: What a column of money holds, pico-USD.
_MOST_PICO_USD = 2**63 - 1
#: Records kept as they are at most: more than come between two looks of the shipper, when a thread does
#: nothing else. With a quarter of it, half of those were read from the ring again.
FRESH_RECORDS = 4_096

Written = Intent | Done | Cancel | Closed | Asked
#: Records of which something must be kept when they find no room.
Ending = Done | Closed | Intent | Cancel
#: Where a record starts and ends in the ring, encoded, and as it is.
Fresh = tuple[int, int, bytes, Written]


@dataclass(slots=True)
class Counts:
    """What was written and what found no room.

    Attributes:
        emitted: records the ring took.
        dropped: records it refused.
        dropped_facts: facts among them, and facts that cannot be encoded; an intent that finds no room loses
            nothing but itself.
        dropped_pico_usd: what the calls of those facts cost.
        dropped_settlements: settlements, cancels and ends of leases that even the reserved part refused.
        reentered: records that went through the side queue.
    """

    emitted: int = 0
    dropped: int = 0
    dropped_facts: int = 0
    dropped_pico_usd: int = 0
    dropped_settlements: int = 0
    reentered: int = 0


class Writer:
    """Appends records to one ring, from any thread and any signal handler.

    Attributes:
        counts: what happened so far; written under the lock.
        fresh: the newest records as they are, for who delivers them; the oldest first, not all of them.
    """

    __slots__ = ("_busy", "_largest", "_lock", "_reserved", "_ring", "_side", "counts", "fresh")

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        # Reentrant on purpose: with a plain lock a signal between acquiring it and noting the owner
        # would wait for itself.
        self._lock = threading.RLock()
        self._busy = False
        self._side: deque[tuple[bytes, Ending | None, Written | None]] = deque()
        self._reserved = ring.capacity // RESERVED_SHARE
        self._largest = ring.capacity // LARGEST_SHARE
        self.counts = Counts()
        self.fresh: deque[Fresh] = deque()

    @property
    def waiting(self) -> int:
        """Records in the side queue."""
        return len(self._side)

    def write(self, record: bytes, done: Ending | None = None, written: Written | None = None) -> bool:
        """Append a record; of a `Done`, at least the settlement, when only the reserved part has room.

        Args:
            record: the encoded record.
            done: the record itself when it is one that may settle or end something.
            written: what ``record`` was encoded from, to be kept among the `fresh`.

        Returns:
            True when the whole record was taken.
        """
        with self._lock:
            if self._busy:
                self.counts.reentered += 1
                self._side.append((record, done, written))
                return True
            self._busy = True
            try:
                if self._side:
                    self._empty_side()
                taken = self._put(record, done, written)
            finally:
                self._busy = False
            if self._side:
                self._late_side()
            return taken

    def keep(self, record: bytes) -> bool:
        """Append a record that must not be lost when facts have filled the rest; False when it is."""
        with self._lock:
            if self._busy:
                self.counts.reentered += 1
                self._side.append((record, None, None))
                return True
            self._busy = True
            try:
                if self._side:
                    self._empty_side()
                taken = self._ring.append(record)
                self.counts.emitted += taken
            finally:
                self._busy = False
            self._late_side()
            return taken

    def move(self, record: bytes) -> int | None:
        """Append a copy of a record that stands in the way of the tail; return where it went."""
        with self._lock:
            if self._busy:
                return None
            self._busy = True
            try:
                taken = self._ring.append(record)
                return self._ring.head - frame_size(len(record)) if taken else None
            finally:
                self._busy = False

    def pause(self, action: Callable[[], None]) -> None:
        """Call ``action`` while nobody else writes; what this very thread writes meanwhile is kept aside."""
        with self._lock:
            self._busy = True
            try:
                action()
            finally:
                self._busy = False
            self._late_side()

    def _late_side(self) -> None:
        """Take what a handler queued between the last look and the end of a write."""
        while self._side and not self._busy:
            self._busy = True
            try:
                self._empty_side()
            finally:
                self._busy = False

    def _empty_side(self) -> None:
        while self._side:
            self._put(*self._side.popleft())

    def _put(self, record: bytes, done: Ending | None, written: Written | None) -> bool:
        ring, counts, length = self._ring, self.counts, len(record)
        if length <= self._largest and ring.append(record, self._reserved):
            counts.emitted += 1
            if written is not None and len(self.fresh) < FRESH_RECORDS:
                end = ring.head
                self.fresh.append((end - frame_size(length), end, record, written))
            return True
        remainder = None if done is None else closed(done)
        kept = remainder is not None and ring.append(remainder)
        if kept and remainder == record:
            counts.emitted += 1
            return True
        counts.dropped += 1
        if isinstance(done, Done):
            self._lose(done.fact)
        if not kept and (isinstance(done, Cancel) or getattr(done, "settlement", None) is not None):
            self.lose_settlement()
        return False

    def lose_settlement(self) -> None:
        """Count what Redis will never be told: it stays taken as it was reserved."""
        self.counts.dropped_settlements += 1
        self._ring.set_mark(Mark.DROPPED_SETTLEMENTS, self.counts.dropped_settlements)

    def lose_fact(self, fact: Fact) -> None:
        """Count a fact that nobody will hear of, and what its call cost."""
        with self._lock:
            self._lose(fact)

    def _lose(self, fact: Fact) -> None:
        ring, counts = self._ring, self.counts
        counts.dropped_facts += 1
        counts.dropped_pico_usd += _cost(fact)
        ring.set_mark(Mark.DROPPED, counts.dropped_facts)
        ring.set_mark(Mark.DROPPED_PICO_USD, counts.dropped_pico_usd)


def _cost(fact: Fact) -> int:
    """Return what a call cost, pico-USD; 0 where a plugin put there what can be no cost."""
    cost = fact.cost_pico_usd
    return cost if isinstance(cost, int) and 0 <= cost <= _MOST_PICO_USD else 0
