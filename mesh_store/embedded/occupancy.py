"""Is anybody still using the engines?"""

from __future__ import annotations

import time
from typing import Self

from mesh_store.embedded.layout import Layout
from mesh_store.embedded.leases import Lock, take_alone


class Occupancy:
    """Watches the leases; once it says that it is over, nobody can become a user until it is closed.

    The exclusive lock on the lease can be had only while no user holds it. Keeping it while the
    engines stop makes whoever comes in between wait for the end, instead of getting a dying pair.
    """

    def __init__(self, layout: Layout, linger: float) -> None:
        self._layout = layout
        self._linger = linger
        self._free_since: float | None = None
        self._taken: Lock | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:
            self._taken.close()

    def over(self) -> bool:
        """Whether nobody has used the engines for the linger time, and nobody asked to keep them."""
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
