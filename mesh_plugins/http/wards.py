"""Who is waited for by somebody who may be interrupted.

Signals reach the main thread only. Where it waits for threads that call for it, it takes them into a ward:
interrupted, it cancels what they are waiting for.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextvars import ContextVar
from typing import Protocol

from mesh_store.model.forking import forkable_lock

_ward: ContextVar[Ward | None] = ContextVar("mesh_ward", default=None)


class _Cancellable(Protocol):
    def cancel(self) -> None: ...


class Ward:
    """Calls that end together when whoever waits for them is interrupted."""

    def __init__(self) -> None:
        self._lock = forkable_lock()
        self._inside: set[_Cancellable] = set()
        self._cancelled = False

    def enter(self, call: _Cancellable) -> None:
        """Take in a call that begins; one of a cancelled ward is cancelled at once."""
        with self._lock:
            self._inside.add(call)
            cancelled = self._cancelled
        if cancelled:
            call.cancel()

    def leave(self, call: _Cancellable) -> None:
        """Let go of a call that has ended."""
        with self._lock:
            self._inside.discard(call)

    def cancel(self) -> None:
        """Cancel every call inside, and all that will come."""
        with self._lock:
            self._cancelled = True
            inside = list(self._inside)
        for call in inside:
            call.cancel()

    def check(self) -> None:
        """Raise `asyncio.CancelledError` when the ward was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError


class warded:  # noqa: N801 - reads as the word it is in a with statement
    """Everything inside, in this thread, belongs to a ward."""

    def __init__(self, ward: Ward | None) -> None:
        self._ward = ward

    def __enter__(self) -> None:
        self._token = _ward.set(self._ward)

    def __exit__(self, *_: object) -> None:
        _ward.reset(self._token)


def current() -> Ward | None:
    """Return the ward this thread works in."""
    return _ward.get()


def hears() -> bool:
    """Tell whether this is the thread that signals are heard in, and its waiting is Python's own."""
    # Where gevent has patched it, one thread runs many greenlets, and no loop may be left in the middle.
    return threading.get_ident() == threading.main_thread().ident and "gevent.monkey" not in sys.modules


def interruptible() -> bool:
    """Tell whether who waits in this thread may be interrupted, itself or through a ward."""
    return hears() or _ward.get() is not None
