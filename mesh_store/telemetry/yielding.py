"""Batches on their way, and those that only the stream holds any more because the ring needed their room.

While nobody commits, a ring fills with what the stream has, too. Refusing new facts would lose them for
certain; what is in the stream is lost only if its server forgets it. That case is counted, also when the
process died meanwhile: the ring's header holds a note of what is awaited.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from mesh_store.redis.stream import EntryId
from mesh_store.telemetry.ranges import Ranges
from mesh_store.telemetry.ring import NOTE_SIZE, Ring

_COUNT = struct.Struct("<Q")
_BATCH = struct.Struct("<6Q")
#: Batches a note has room for; where there are more, neighbours are noted as one.
NOTED = (NOTE_SIZE - _COUNT.size) // _BATCH.size


class Sent(NamedTuple):
    """A batch in the stream that is not committed yet.

    Attributes:
        start, end: its range of the ring.
        entry: its id in the stream.
        facts: how many it holds.
        size: how much of the range is its own; the rest lies between batches noted as one. None means all.
    """

    start: int
    end: int
    entry: EntryId
    facts: int = 0
    size: int | None = None


class Yielded:
    """Batches whose memory was given back before they were committed.

    Attributes:
        batches: those whose commit is awaited, the oldest first.
        unconfirmed: facts whose server forgot the stream before it said that they were committed.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.batches, self.unconfirmed = _read(ring.noted())
        # A process that died between its note and giving the memory back still had it in the ring.
        self.batches = deque(sent for sent in self.batches if sent.start < ring.tail)

    def add(self, sent: Sequence[Sent]) -> None:
        """Await the commit of batches; their memory may be given back after this."""
        if sent:
            self.batches.extend(sent)
            self._note()

    def confirm(self, committed: Sequence[tuple[int, int]]) -> None:
        """Take note of the ranges that are committed."""
        if not self.batches or not committed:
            return
        ranges = Ranges()
        for start, end in committed:
            ranges.add(start, end)
        left = deque(sent for sent in self.batches if not _is_within(sent, ranges, committed))
        if len(left) != len(self.batches):
            self.batches = left
            self._note()

    def doubt(self) -> None:
        """Give up what is awaited: the stream that held it is gone."""
        if self.batches:
            self.unconfirmed += sum(sent.facts for sent in self.batches)
            self.batches.clear()
            self._note()

    def _note(self) -> None:
        awaited = list(self.batches)
        together = -(-len(awaited) // NOTED) or 1
        joined = [_join(awaited[at : at + together]) for at in range(0, len(awaited), together)]
        words = [(s.start, s.end, _size(s), s.facts, *s.entry) for s in joined]
        self._ring.note(_COUNT.pack(self.unconfirmed) + b"".join(_BATCH.pack(*each) for each in words))


def _read(note: bytes) -> tuple[deque[Sent], int]:
    if len(note) < _COUNT.size:
        return deque(), 0
    words = _BATCH.iter_unpack(note[_COUNT.size :])
    batches = (Sent(start, end, EntryId(ms, at), facts, size) for start, end, size, facts, ms, at in words)
    return deque(batches), _COUNT.unpack_from(note)[0]


def _join(batches: Sequence[Sent]) -> Sent:
    first, last = batches[0], batches[-1]
    return Sent(first.start, last.end, last.entry, sum(s.facts for s in batches), sum(map(_size, batches)))


def _size(sent: Sent) -> int:
    return sent.end - sent.start if sent.size is None else sent.size


def _is_within(sent: Sent, ranges: Ranges, committed: Sequence[tuple[int, int]]) -> bool:
    if ranges.reach(sent.start) >= sent.end:
        return True
    if sent.size is None or sent.size == sent.end - sent.start:
        return False
    inside = ((max(start, sent.start), min(end, sent.end)) for start, end in committed)
    return sum(end - start for start, end in inside if start < end) >= sent.size
