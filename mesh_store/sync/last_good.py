"""Keeps the last good configuration on disk in step with what a process holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from mesh_store.model.errors import ConfigError
from mesh_store.model.forking import forkable_lock
from mesh_store.sync.disk import DISK_FORMAT, Disk, Kept
from mesh_store.sync.key_table import KeyTable
from mesh_store.sync.replica import Made, Replica
from mesh_store.sync.trust import Trust

log = logging.getLogger(__name__)

#: Seconds between two writes, and between two notes that nothing changed.
WRITE_EVERY_S = 1.0
CONFIRM_EVERY_S = 60.0


class LastGood:
    """Boots a process from disk, and writes there what it learns afterwards.

    Args:
        folder: where the copy lies, or None for no copy.
        redis_url: names the copy.
        replica: what the process holds of the configuration.
        keys: what it holds of keys.
        trust: whom it believes; the pin is kept too.
        clock: seconds that only grow.

    Attributes:
        said: what reading the copy came to, for messages.
    """

    def __init__(
        self,
        folder: Path | None,
        redis_url: str,
        replica: Replica,
        keys: KeyTable,
        trust: Trust,
        clock: Callable[[], float],
    ) -> None:
        self._disk = None if folder is None else Disk(folder, redis_url)
        self._replica = replica
        self._keys = keys
        self._trust = trust
        self._clock = clock
        self._written: tuple[Made, int] | None = None
        self._written_at = self._noted_at = float("-inf")
        self.after_fork()
        self.said = (
            "no copy on disk is configured" if self._disk is None else "the copy on disk was not read yet"
        )

    def boot(self) -> float | None:
        """Take in what is on disk; return its age in seconds, or None when there was nothing to use."""
        if self._disk is None:
            return None
        try:
            there = self._disk.read()
        except (ConfigError, OSError) as error:
            self.said = f"the copy on disk cannot be used: {error}"
            log.warning("%s", self.said)
            return None
        if there is None:
            self.said = f"there is no copy at {self._disk.path}"
            return None
        kept, age_s = there
        if kept.publisher is not None:
            self._trust.pin(kept.publisher)
        self._keys.load(kept.keys, age_s)
        if not self._replica.load(kept.snapshot) or self._replica.made is None:
            self.said = f"the copy at {self._disk.path} was refused: {self._replica.last_refusal}"
            return None
        self._replica.follow(self._replica.made, list(kept.deltas))
        self.said = (
            f"the copy at {self._disk.path} was last confirmed {age_s:.0f} s before this process started"
        )
        return age_s

    def save(self, confirmed_at: float, *, at_once: bool = False) -> None:
        """Write what is held if it changed, at most once a second unless ``at_once``.

        Args:
            confirmed_at: when Redis last said that what is held is the newest.
            at_once: write now.
        """
        made, now = self._replica.made, self._clock()
        if self._disk is None or made is None or not self._lock.acquire(timeout=WRITE_EVERY_S):
            return
        try:
            if self._written != (made, self._keys.version):
                if at_once or now - self._written_at >= WRITE_EVERY_S:
                    self._write(self._disk, made, now, now - confirmed_at)
            elif now - confirmed_at < WRITE_EVERY_S and now - self._noted_at >= CONFIRM_EVERY_S:
                self._disk.confirm()
                self._noted_at = now
        finally:
            self._lock.release()

    def after_fork(self) -> None:
        """Start anew in a child: a lock held by a thread that is not here."""
        self._lock = forkable_lock()

    def _write(self, disk: Disk, made: Made, now: float, age_s: float) -> None:
        version = self._keys.version
        document = made.snapshot.document
        kept = Kept(
            DISK_FORMAT,
            document.epoch,
            document.revision,
            made.sealed,
            made.deltas,
            self._keys.keep(),
            self._trust.publisher,
        )
        self._written_at = self._noted_at = now
        try:
            disk.write(kept, age_s)
        except OSError as error:
            log.warning("the last good configuration cannot be kept in %s: %s", disk.path, error)
        else:
            self._written = (made, version)
