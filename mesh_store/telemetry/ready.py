"""What settling has read and shipping needs next, kept so that no record is read twice.

Only ever a shortcut: what is not here, because there was too much of it or because something went wrong in
between, is read from the ring again.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from mesh_store.model.facts import Settlement
from mesh_store.telemetry.records import Known
from mesh_store.telemetry.spending import Spending

#: Bytes of records kept at most; while Redis is away everything waits in the ring.
KEPT_BYTES = 2 * 1024 * 1024

Encoded = bytes | msgspec.Raw
#: What to settle, the encoded fact to ship, and what budgets were charged; None where a record has none.
Meaning = tuple[Settlement | None, Encoded | None, Spending | None]
#: A record as it was read: where it begins and ends in the ring, encoded, and decoded; None where damaged.
Read = tuple[int, int, bytes, Known | None]


class Part(NamedTuple):
    """A stretch of the ring and what it contributes to the stream.

    Attributes:
        start, end: its positions.
        facts: encoded.
        spendings: what budgets were charged.
        size: bytes of the facts.
    """

    start: int
    end: int
    facts: list[Encoded]
    spendings: list[Spending]
    size: int


class Ready:
    """Parts that follow each other without a gap."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()
        self._size = 0

    @property
    def start(self) -> int | None:
        """Where the first part starts, or None."""
        return self._parts[0].start if self._parts else None

    def add(self, part: Part) -> None:
        """Keep a part if there is anything in it, it follows the last, and is not too much."""
        follows = not self._parts or self._parts[-1].end == part.start
        if part.start == part.end or not follows or (self._parts and self._size + part.size > KEPT_BYTES):
            return
        self._parts.append(part)
        self._size += part.size

    def take(self, position: int, facts: int, size: int) -> Part | None:
        """Take what starts at ``position``, joined up to so many facts and bytes; None if it is not here."""
        parts = self._parts
        while parts and parts[0].start < position:
            self._size -= parts.popleft().size
        if not parts or parts[0].start != position:
            return None
        if _is_beyond(parts[0], facts, size):
            self.clear()  # it has to be read again in smaller pieces
            return None
        taken = parts.popleft()
        self._size -= taken.size
        while parts:
            joined = Part(
                taken.start,
                parts[0].end,
                taken.facts + parts[0].facts,
                taken.spendings + parts[0].spendings,
                taken.size + parts[0].size,
            )
            if _is_beyond(joined, facts, size):
                break
            self._size -= parts.popleft().size
            taken = joined
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._parts.clear()
        self._size = 0


def _is_beyond(part: Part, facts: int, size: int) -> bool:
    return len(part.facts) > facts or part.size > size
