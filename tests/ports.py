"""Ports of loopback that nobody else is given while this process lives.

A port that the kernel chose and that is closed again may be the next one it gives away, to a server or as
the near end of somebody's connection. These lie below what the kernel chooses from, and are locked.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from pathlib import Path

#: Below 32768, where Linux begins to choose; macOS begins at 49152.
_FIRST, _COUNT = 12_000, 20_000

_next = itertools.count(os.getpid() * 37 % _COUNT)
_held: list[int] = []


def free_port() -> int:
    """Return a port that is free, and this process's until it ends."""
    folder = Path(tempfile.gettempdir()) / f"mesh-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in range(_COUNT):
        port = _FIRST + next(_next) % _COUNT
        lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
        else:
            _held.append(lock)
            return port
    raise AssertionError("no port of loopback is free")
