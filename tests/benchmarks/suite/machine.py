"""How much of the machine somebody else used: a slice they took part in says nothing about us.

Everything the suite starts carries a mark in its environment, detached engines included; what is busy
beyond those processes is foreign.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MARK = "BENCHMARK_MARK"
#: A slice is measured again when others used more than this share of all cores meanwhile.
MOST_FOREIGN, MOST_ATTEMPTS = 0.10, 6

_TICKS = os.sysconf("SC_CLK_TCK")
_Result = TypeVar("_Result")


class Foreign:
    """Counts what others use of this machine's processors; knows nothing where there is no /proc."""

    def __init__(self, mark: str, attempts: int = MOST_ATTEMPTS) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._attempts = attempts
        self._known: dict[str, bool] = {}
        self.refused = 0

    def quiet(self, measure: Callable[[], _Result]) -> tuple[_Result, float]:
        """Measure until others kept away, at most so many times.

        Returns:
            The result, and the foreign share of all processors while it was measured.
        """
        best: tuple[_Result, float] | None = None
        for attempt in range(1, self._attempts + 1):
            busy, ours, began = _busy_s(), self._ours_s(), time.monotonic()
            result = measure()
            passed = (time.monotonic() - began) * (os.cpu_count() or 1)
            foreign = max(0.0, (_busy_s() - busy) - (self._ours_s() - ours)) / passed
            if best is None or foreign < best[1]:
                best = result, foreign
            if foreign <= MOST_FOREIGN or attempt == self._attempts:
                break
            self.refused += 1
        assert best is not None
        return best

    def _ours_s(self) -> float:
        return sum(spent_s(entry) for entry in Path("/proc").glob("[0-9]*") if self._is_ours(entry))

    def _is_ours(self, entry: Path) -> bool:
        if entry.name == str(os.getpid()):
            return True
        known = self._known.get(entry.name)
        if known is None:
            try:
                known = self._mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                known = False
            self._known[entry.name] = known
        return known


def _busy_s() -> float:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS


def spent_s(entry: Path) -> float:
    """Return seconds of processor of a process, given its folder under /proc, and of its ended children."""
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS
