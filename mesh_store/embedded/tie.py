"""Tie a child's life to ours, so that a killed supervisor leaves no servers behind.

On Linux the kernel does it: a parent-death signal. Elsewhere a shell of a few hundred kilobytes
waits at a pipe whose other end only we hold, and signals the child when that end closes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_GUARD = 'read -r word || kill -s "$1" "$2"'  # our end closed without a word: we died


class Tie:
    """The tie of one child; `signum` is what the child gets when we die."""

    def __init__(self, signum: signal.Signals, *, by_kernel: bool | None = None) -> None:
        self.signum = signum
        self._by_kernel = sys.platform.startswith("linux") if by_kernel is None else by_kernel
        self._libc = ctypes.CDLL(None, use_errno=True) if self._by_kernel else None
        self._parent = os.getpid()
        self._guard: subprocess.Popen[bytes] | None = None

    def in_child(self) -> None:
        """Between fork and exec, after any change of identity (which would clear the signal)."""
        if self._libc is None:
            return
        if self._libc.prctl(_PR_SET_PDEATHSIG, int(self.signum), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != self._parent:
            os._exit(1)  # we were orphaned before we asked to be told

    def watch(self, pid: int) -> None:
        """Once the child runs."""
        if self._libc is None:
            self._guard = subprocess.Popen(  # noqa: S603 - a fixed script
                ["/bin/sh", "-c", _GUARD, "mesh-guard", self.signum.name.removeprefix("SIG"), str(pid)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )

    def loosen(self) -> None:
        """Once the child has ended, so that nobody else who gets its number is signalled."""
        if self._guard is not None:
            self._guard.communicate(b"done\n")
            self._guard = None
