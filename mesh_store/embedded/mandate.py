"""Is there still a reason to run?"""

from __future__ import annotations

import signal
import time
from typing import Self

from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import Lock, take_alone


class Mandate:
    """Ends when somebody says stop, when the home is gone, or when nobody has used it for a while.

    The exclusive lock on the lease can be had only while no user holds it. Once the mandate ended
    for want of users, that lock is kept until :meth:`close`, so that whoever comes in between waits
    for the end instead of getting a dying pair.
    """

    def __init__(self, layout: Layout, linger: float, watch: Lock) -> None:
        self._layout = layout
        self._linger = linger
        self._watch = watch
        self._free_since: float | None = None
        self._taken: Lock | None = None
        self._signalled = False
        layout.stop.unlink(missing_ok=True)  # an order to an earlier supervisor
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_signal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:
            self._taken.close()

    def ended(self) -> bool:
        """Whether to stop now; once true, true for ever."""
        return self._signalled or not self._watch.in_place() or self._layout.stop.exists() or self._unused()

    def _unused(self) -> bool:
        if self._taken is not None:
            return True
        now = time.monotonic()
        alone = None if self._layout.keep.exists() else take_alone(self._layout.lease, now)
        if alone is None:
            self._free_since = None
            return False
        self._free_since = now if self._free_since is None else self._free_since
        if now - self._free_since < self._linger:
            alone.close()
            return False
        self._taken = alone
        return True

    def _on_signal(self, *_: object) -> None:
        self._signalled = True
