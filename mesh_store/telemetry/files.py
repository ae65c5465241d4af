"""Where rings live: made, locked, found again and removed.

A ring file is owned by whoever holds its ``flock``; a free lock means its process is gone and anyone
may deliver what it holds. The lock is given up by closing, never by unlocking: after a fork
both processes share it, and an unlock in the child would free it for the parent too.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform != "win32":  # pragma: no branch - Windows has no flock: rings live in memory there
    import fcntl

from mesh_store.model.ids import now_us
from mesh_store.telemetry.ring import HEADER, Mark, NotARing, Ring
from mesh_store.telemetry.ring_identity import read_identity, write_identity

#: Whether rings can be in files here.
CAN_LOCK = sys.platform != "win32"
SUFFIX = ".ring"
UNFINISHED = ".new"
#: Seconds after which a ring that nobody finished making is removed.
UNFINISHED_S = 60.0
#: The smallest ring that makes sense: a few dozen records.
MIN_BYTES = 64 * 1024


class RingFile:
    """A ring in a file this process owns, or in memory when there is no file.

    Attributes:
        ring: the log.
        path: the file, or None in memory.
        reason: why it is only in memory, or None.
    """

    def __init__(self, ring: Ring, path: Path | None, descriptor: int, reason: str | None = None) -> None:
        self.ring = ring
        self.path = path
        self.reason = reason
        self._descriptor = descriptor

    @property
    def dropped(self) -> int:
        """Facts its process counted as dropped."""
        return self.ring.mark(Mark.DROPPED)

    def move(self, home: Path, pause: Callable[[Callable[[], None]], None]) -> None:
        """Go on in a file; only for a ring in memory, and for whoever delivers it.

        Args:
            home: the file goes to ``<home>/rings``.
            pause: calls a function while nobody writes to the ring.

        Raises:
            OSError: there is no room; the ring is as it was.
        """
        ring = self.ring
        copied = ring.head

        def begin(memory: mmap.mmap) -> None:
            ring.copy(memory, ring.tail, copied)
            write_identity(memory, ring.identity)

        def go_on() -> None:
            ring.copy(memory, copied, ring.head)
            ring.move(memory)

        path, descriptor, memory = _made(home / "rings", ring.identity.ring, ring.capacity, begin)
        pause(go_on)
        self.path, self._descriptor, self.reason = path, descriptor, None

    def close(self, *, remove: bool = False) -> None:
        """Give up the ring: keep the file for a drain (shortened where that is safe), or remove it."""
        ring = self.ring
        # What never wrapped has nothing behind its head; of what is all delivered only the header counts.
        shortest = HEADER + ring.head if ring.head <= ring.capacity else None
        shortest = HEADER if ring.tail >= ring.head else shortest
        self.ring.close()
        if self._descriptor < 0 or self.path is None:
            return
        with contextlib.suppress(OSError):
            if remove:
                self.path.unlink()
            elif shortest is not None:
                # A thousand short scripts must not pin 64 GiB.
                os.ftruncate(self._descriptor, max(shortest, HEADER + 8))
        self._close_descriptor()

    def abandon(self) -> None:
        """Let go and change nothing; what a forked child does with its parent's ring."""
        # The map holds a descriptor of its own: left open it would keep the lock after the parent's death.
        with contextlib.suppress(BufferError):
            self.ring.close()
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)


def create(home: Path | None, size: int) -> RingFile:
    """Make a ring under ``<home>/rings``; in memory, with the reason, where that cannot be done."""
    size = max(size, MIN_BYTES)
    ring_id = uuid.uuid4().hex
    if home is None:
        return _in_memory(ring_id, size, "no home directory was given")
    if sys.platform == "win32":  # pragma: no cover
        return _in_memory(ring_id, size, "this platform has no flock")
    try:
        return _in_file(home / "rings", ring_id, size)
    except OSError as error:
        return _in_memory(ring_id, size, f"{home / 'rings'}: {error.strerror or error}")


def orphans(home: Path) -> Iterator[RingFile]:
    """Yield the rings whose process is gone, each locked for us; the caller closes them."""
    for path in (home / "rings").glob(f"*{UNFINISHED}"):
        _remove_unfinished(path)
    for path in sorted((home / "rings").glob(f"*{SUFFIX}")):
        adopted = _adopt(path)
        if adopted is not None:
            yield adopted


def _in_memory(ring_id: str, size: int, reason: str) -> RingFile:
    memory = mmap.mmap(-1, HEADER + size)
    ring = Ring.create(memory, ring_id, generation=1, pid=os.getpid(), created_us=now_us())
    return RingFile(ring, None, -1, reason)


def _in_file(folder: Path, ring_id: str, size: int) -> RingFile:
    def begin(memory: mmap.mmap) -> None:
        Ring.create(memory, ring_id, generation=1, pid=os.getpid(), created_us=now_us())

    path, descriptor, memory = _made(folder, ring_id, size, begin)
    return RingFile(Ring(memory, read_identity(memory)), path, descriptor)


def _made(
    folder: Path, ring_id: str, size: int, begin: Callable[[mmap.mmap], object]
) -> tuple[Path, int, mmap.mmap]:
    """Make a locked file that has its name once ``begin`` has put a ring into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{ring_id}{SUFFIX}"
    unfinished = folder / f"{ring_id}{UNFINISHED}"
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _allocate(descriptor, HEADER + size)
        memory = mmap.mmap(descriptor, HEADER + size)
        begin(memory)
        unfinished.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        os.close(descriptor)
        raise
    return path, descriptor, memory


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the blocks now: a sparse file on a full disk would kill the process by SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    zeros = bytes(1024 * 1024)
    for at in range(0, size, len(zeros)):
        piece = zeros[: min(len(zeros), size - at)]
        if os.pwrite(descriptor, piece, at) != len(piece):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _remove_unfinished(path: Path) -> None:
    """Remove what a process left that died while it made its ring."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(descriptor).st_mtime > UNFINISHED_S:
                path.unlink()
        finally:
            os.close(descriptor)


def _adopt(path: Path) -> RingFile | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(descriptor).st_size
        # Someone may have delivered and removed it between our open and our lock.
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(path)
        memory = mmap.mmap(descriptor, size)
    except (OSError, ValueError):
        os.close(descriptor)
        return None
    try:
        return RingFile(Ring.open(memory), path, descriptor)
    except NotARing:
        memory.close()
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".damaged"))
        os.close(descriptor)
        return None
