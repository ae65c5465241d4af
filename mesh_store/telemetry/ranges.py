"""Ranges of positions that were reported in any order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """A set of half-open ranges; touching ones are merged, so it stays as small as its gaps."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add a range; overlapping and repeated ones are welcome."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def reach(self, position: int) -> int:
        """Return how far one gets from ``position`` without leaving the set."""
        at = bisect_right(self._starts, position) - 1
        return max(position, self._ends[at]) if at >= 0 else position

    def drop_before(self, position: int) -> None:
        """Forget what ends at or before ``position``."""
        keep = bisect_right(self._ends, position)
        del self._starts[:keep], self._ends[:keep]
