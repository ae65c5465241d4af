"""Whether pyreqwest may be used in this process.

Its Tokio runtime does not survive a fork: in the child an inherited client hangs for ever and a new
one raises, or hangs too when the fork came while the runtime was starting. A child forked *before* the
runtime began to start may use it like any process.
"""

from __future__ import annotations

import os

_started = False
_lost = False


def runtime_starts() -> None:
    """Note that this process is about to have a runtime."""
    global _started
    _started = True


def runtime_lost() -> bool:
    """Tell whether this process inherited a runtime that cannot work here."""
    return _lost


def note_lost_runtime() -> None:
    """Note that pyreqwest itself found an inherited runtime (somebody else had started it)."""
    global _lost
    _lost = True


def _in_child() -> None:
    global _lost
    _lost = _lost or _started


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_in_child)
