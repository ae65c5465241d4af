"""What a book of leases needs of the outside: a clock, and a ledger that outlives the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from mesh_store.model.facts import LeaseAsked, LeaseEnded, SlotsMoved

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


#: Nanoseconds of a clock that also runs while the machine sleeps.
boottime_ns: Callable[[], int] = partial(time.clock_gettime_ns, _CLOCK)


def boottime_us() -> int:
    """Return microseconds of the same clock."""
    return boottime_ns() // 1_000


class Ledger(Protocol):
    """What is written down about leases, in order, before anything is done about it."""

    def lease(self, record: LeaseAsked | LeaseEnded | SlotsMoved) -> bool:
        """Write a record; False when there is no room."""
        ...
