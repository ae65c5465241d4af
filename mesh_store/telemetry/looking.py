"""Looking at the rings of a home without touching them: for `mesh doctor`."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":  # pragma: no branch - no rings in files there
    import fcntl

from mesh_store.telemetry.files import MIN_BYTES, SUFFIX, create
from mesh_store.telemetry.ring import NotARing, Ring


class RingState(NamedTuple):
    """A ring as it lies there.

    Attributes:
        path: its file.
        alive: whether its process still runs.
        used_bytes, capacity: how full it is.
        damaged: True when it cannot be read; the rest is 0 then.
    """

    path: Path
    alive: bool
    used_bytes: int
    capacity: int
    damaged: bool = False


def rings(home: Path) -> Iterator[RingState]:
    """Yield the rings of a home, those of living processes included."""
    for path in sorted((home / "rings").glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # delivered and removed a moment ago
        try:
            yield _state(path, descriptor)
        finally:
            os.close(descriptor)


def why_only_memory(home: Path) -> str | None:
    """Return why a process of this home could not keep its ring in a file, or None when it could.

    Tried elsewhere on the same volume, so that nobody mistakes the attempt for a ring.
    """
    place = home if home.is_dir() else next(parent for parent in home.parents if parent.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".mesh-doctor-", dir=place) as trial:
            made = create(Path(trial), MIN_BYTES)
            made.close(remove=True)
            return made.reason
    except OSError as error:
        return f"{place}: {error.strerror or error}"


def _state(path: Path, descriptor: int) -> RingState:
    alive = _is_locked(descriptor)
    try:
        # A private copy: reading a log that its owner did not close may have to mend the copy's marks.
        memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):
        return RingState(path, alive, 0, 0, damaged=True)
    try:
        ring = Ring.open(memory)
    except NotARing:
        memory.close()
        return RingState(path, alive, 0, 0, damaged=True)
    state = RingState(path, alive, ring.head - ring.tail, ring.capacity)
    ring.close()
    return state


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
