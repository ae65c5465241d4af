"""What a forked child does not inherit: locks as held, imports as begun, and the belief to be its parent.

A thread that holds a lock at the moment of a fork exists in the parent only: nobody would ever release the
child's copy, and the first call there that wants it would hang. So it is with a module that a thread is in
the middle of importing, and much is imported by the first call that needs it: a fork waits for that.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
import weakref

#: How long a fork waits for other threads' imports, seconds: one of them may be waiting for the fork.
IMPORTS_S = 2.0
_LOOK_S = 0.001

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


def _let_imports_end() -> None:
    me, until = threading.get_ident(), time.monotonic() + IMPORTS_S
    while (owners := _importing()) and me not in owners and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _importing() -> set[int]:
    """Return the threads that are in the middle of an import; CPython keeps a lock for each such module."""
    locks = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    owners = [getattr(reference(), "owner", None) for reference in list(locks.values())]
    return {owner for owner in owners if owner is not None}


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(before=_let_imports_end, after_in_child=_in_child)
