"""A ring that had to begin in memory moves into a file once there is room: a disk is not full for ever.

What waits is copied, the writer is stopped for the last of it, and goes on in the file; positions, the ring's
name and how far its delivery has come stay as they are. Of a process that is killed before the file
has its name nothing is left, as before; afterwards a drain finds what was copied, and what it sends a second
time Postgres knows by its id.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mesh_store.telemetry.files import RingFile
from mesh_store.telemetry.writer import Writer

log = logging.getLogger(__name__)

#: Seconds between two tries.
RETRY_S = 15.0


class Housing:
    """Tries to find room for one ring; used by the thread that delivers it, and by no other.

    Attributes:
        due: when to try next, on the monotonic clock.
    """

    def __init__(self, home: Path, file: RingFile, writer: Writer, now: float) -> None:
        self.due = now + RETRY_S
        self._home = home
        self._file = file
        self._writer = writer

    def found(self, now: float) -> bool:
        """Move when it is time to try and there is room; True when the ring is in a file."""
        if now < self.due:
            return False
        self.due = now + RETRY_S
        try:
            self._file.move(self._home, self._writer.pause)
        except OSError as error:
            self._file.reason = f"{self._home / 'rings'}: {error.strerror or error}"
            return False
        log.warning("there is room again: telemetry is kept in %s", self._file.path)
        return True
