"""Batches on their way, and those that only the stream holds any more because the ring needed their room.

While nobody commits, a ring fills with what the stream has, too. Refusing new facts would lose them for
certain; what is in the stream is lost only if its server forgets it. That case is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from mesh_store.redis.stream import EntryId


class Sent(NamedTuple):
    """A batch in the stream that is not committed yet.

    Attributes:
        start, end: its range of the ring.
        entry: its id in the stream.
        facts: how many it holds.
    """

    start: int
    end: int
    entry: EntryId
    facts: int = 0


class Yielded:
    """Batches whose memory was given back before they were committed.

    Attributes:
        batches: those whose commit is awaited, the oldest first.
        unconfirmed: facts whose server forgot the stream before it said that they were committed.
    """

    def __init__(self) -> None:
        self.batches: deque[Sent] = deque()
        self.unconfirmed = 0

    def confirm(self, committed: Sequence[tuple[int, int]]) -> None:
        """Take note of the ranges that are committed."""
        if self.batches:
            done = dict(committed)
            self.batches = deque(sent for sent in self.batches if done.get(sent.start, -1) < sent.end)

    def doubt(self) -> None:
        """Give up what is awaited: the stream that held it is gone."""
        self.unconfirmed += sum(sent.facts for sent in self.batches)
        self.batches.clear()
