"""What a forked child does not inherit: locks as held, and the belief to be its parent.

A thread that holds a lock at the moment of a fork exists in the parent only: nobody would ever release the
child's copy, and the first call there that wants it would hang.
"""

from __future__ import annotations

import os
import threading
import weakref

_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_process = object()


def forkable_lock() -> threading.Lock:
    """Return a lock that is free in every forked child; for what outlives a call."""
    made = threading.Lock()
    _locks.add(made)
    return made


def process() -> object:
    """Return what stands for this process; a forked child has another. Cheaper than its number."""
    return _process


def _in_child() -> None:
    global _process
    _process = object()
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as logging and concurrent.futures do


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_in_child)
