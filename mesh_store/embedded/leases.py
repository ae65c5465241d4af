"""Kernel locks on files: who uses the engines, who starts them, who supervises them.

A ``flock`` ends with its last holder, whatever ended it, so nothing can go stale. (A list of pids
does: a killed process never removes itself, and its number is given to somebody else.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.004


class Lock:
    """One held ``flock``; closed on exec, so that no program we start can hold it by accident."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def in_place(self) -> bool:
        """Whether the locked file is still the one at its path (the home may have been removed)."""
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return self._descriptor is not None and os.path.samestat(found, os.fstat(self._descriptor))

    def close(self) -> None:
        """Give the lock back; doing so twice is fine."""
        _LEASES.discard(self)
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def renew(self) -> None:
        """Replace an inherited lock by one of our own.

        ``flock`` belongs to the open file, which a forked child shares with its parent. With a
        lock of its own, the child is a user in its own right: it has a copy of everything made
        from the engines, so they stay while it lives or until it closes its copy, and the parent's
        close is the parent's alone.
        """
        inherited, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            own = _open(self.path)
            if _flock(own, fcntl.LOCK_SH):
                self._descriptor = own
            else:
                os.close(own)
        if inherited is not None:
            os.close(inherited)


_LEASES: set[Lock] = set()  # what a fork has to renew; strong, a lease ends with close or the process


def _renew_after_fork() -> None:
    for lease in _LEASES:
        lease.renew()


os.register_at_fork(after_in_child=_renew_after_fork)


def take_lease(path: Path, deadline: float) -> Lock | None:
    """Become a user: a shared lock, or None when the engines did not finish stopping in time."""
    lease = _take(path, fcntl.LOCK_SH, deadline)
    if lease is not None:
        _LEASES.add(lease)
    return lease


def take_alone(path: Path, deadline: float) -> Lock | None:
    """The exclusive lock on `path`, or None when somebody else holds it until `deadline`."""
    return _take(path, fcntl.LOCK_EX, deadline)


def is_held(path: Path) -> bool:
    """Whether somebody holds the exclusive lock on `path`; makes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holders(path: Path) -> tuple[int, ...] | None:
    """The pids that hold a lock on `path`, or None where the kernel does not tell (only Linux does)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = os.stat(path)
        with open("/proc/locks") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None
    # "7: FLOCK ADVISORY READ <pid> <major>:<minor>:<inode> 0 EOF"
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    held = [row for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{found.st_ino}")]
    # Layered file systems report another device here than stat does; then the inode has to do.
    held = [row for row in held if row[5].startswith(device)] or held
    return tuple(sorted({int(row[4]) for row in held}))


def _take(path: Path, kind: int, deadline: float) -> Lock | None:
    for _ in _until(deadline):
        descriptor = _open(path)
        lock = Lock(path, descriptor)
        if _flock(descriptor, kind) and lock.in_place():
            return lock
        os.close(descriptor)
    return None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _until(deadline: float) -> Iterator[None]:
    """Once, and then again and again until `deadline` (monotonic seconds)."""
    yield
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        yield
