"""``mesh up`` and ``mesh down``: run without a user, and stop in spite of users."""

from __future__ import annotations

import time
from pathlib import Path

from mesh_store.embedded.ground import prepare
from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import is_held, take_alone
from mesh_store.embedded.orphans import end_postgres, end_valkey

_POLL = 0.01


def keep(home: Path | str | None = None) -> None:
    """Let the engines of `home` run without any user, until :func:`release` or :func:`stop`.

    Starts nothing: attach, keep, close is how ``mesh up`` leaves a pair running.
    """
    layout = Layout.of(home)
    prepare(layout)
    layout.keep.touch(mode=0o600)


def release(home: Path | str | None = None) -> None:
    """Undo :func:`keep`: the engines end with their last user, as ever."""
    Layout.of(home).keep.unlink(missing_ok=True)


def stop(home: Path | str | None = None, timeout: float = 30.0) -> bool:
    """Stop the engines of `home` at once, whoever uses them; the next attach starts them anew.

    Returns:
        True when nothing runs any more, False when the supervisor did not finish in `timeout` seconds.
    """
    layout = Layout.of(home)
    release(layout.home)
    deadline = time.monotonic() + timeout
    while is_held(layout.watch):
        layout.stop.touch(mode=0o600)  # again and again: a supervisor that just starts clears old ones
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    layout.stop.unlink(missing_ok=True)
    return _nothing_left(layout, deadline)


def _nothing_left(layout: Layout, deadline: float) -> bool:
    """End servers whose supervisor was killed, unless somebody is already starting others."""
    if not layout.lock.exists() or (lock := take_alone(layout.lock, deadline)) is None:
        return not layout.lock.exists()
    try:
        return is_held(layout.watch) or not (end_valkey(layout.valkey) + end_postgres(layout.postgres))
    finally:
        lock.close()
