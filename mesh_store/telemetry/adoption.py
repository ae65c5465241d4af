"""Rings of processes that are gone, found again and delivered a step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh_store.model.ids import now_us
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.files import RingFile, orphans
from mesh_store.telemetry.losses import tell_lost
from mesh_store.telemetry.orphan import OrphanDelivery
from mesh_store.telemetry.settling import Away, Settlements
from mesh_store.telemetry.watch import Watch

#: Seconds between two looks at the directory.
SWEEP_S = 30.0
#: Seconds between two steps on a ring that waits for its commit.
ASK_S = 0.05
#: Seconds an adopted ring is kept while it waits for its commit; then it is left for a later sweep.
KEEP_S = 10.0


@dataclass(slots=True)
class Adopted:
    """What became of the rings of dead processes.

    Attributes:
        rings: how many were taken over.
        delivered: how many are in Postgres altogether and were removed.
        facts: facts that were put into the stream.
        lost: calls that were running when their process died.
        damaged: stretches that could not be read.
        dropped: facts their process had counted as dropped.
    """

    rings: int = 0
    delivered: int = 0
    facts: int = 0
    lost: int = 0
    damaged: int = 0
    dropped: int = 0


class Adoption:
    """Works on one orphan at a time; whoever calls `step` decides the pace.

    Attributes:
        report: what was done so far.
    """

    def __init__(self, home: Path, settlements: Settlements, stream: FactStream, watch: Watch) -> None:
        self.report = Adopted()
        self._home = home
        self._settlements = settlements
        self._stream = stream
        self._watch = watch
        self._found: Iterator[RingFile] | None = None
        self._next_sweep = 0.0
        self._current: OrphanDelivery | None = None
        self._since = 0.0

    def step(self, now: float, *, keep_s: float = KEEP_S) -> float | None:
        """Do one batch's worth; return the seconds until the next step, None when there is nothing.

        Raises:
            Away: Redis cannot be used now; the ring stays ours and is continued by the next step.
        """
        if self._current is None and not self._adopt(now):
            return None
        orphan = self._current
        assert orphan is not None
        orphan.settle()
        if orphan.ship(now, force=True):
            orphan.acknowledge(now_us())
            return 0.0
        orphan.look(now)
        orphan.acknowledge(now_us())
        tell_lost(self._stream, orphan)
        if orphan.delivered or (not orphan.unshipped and now - self._since > keep_s):
            self._put_back()
            return 0.0
        return ASK_S

    @property
    def resting(self) -> bool:
        """True when the last sweep is through."""
        return self._current is None and self._found is None

    def close(self) -> None:
        """Leave the ring at hand for whoever comes next."""
        if self._current is not None:
            self._put_back()
        self._found = None

    def _adopt(self, now: float) -> bool:
        if self._found is None:
            if now < self._next_sweep:
                return False
            self._found = orphans(self._home)
        file = next(self._found, None)
        if file is None:
            self._found, self._next_sweep = None, now + SWEEP_S
            return False
        self._current = OrphanDelivery(file, self._settlements, self._stream, self._watch)
        self._since = now
        self.report.rings += 1
        self.report.dropped += file.dropped
        return True

    def _put_back(self) -> None:
        assert self._current is not None
        orphan, self._current = self._current, None
        self.report.facts += orphan.facts
        self.report.lost += orphan.lost
        self.report.damaged += orphan.damaged
        self.report.delivered += orphan.delivered
        orphan.file.close(remove=orphan.delivered)


__all__ = ["Adopted", "Adoption", "Away"]
