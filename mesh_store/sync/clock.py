"""Seconds that only grow, and go on growing while the machine sleeps.

A laptop closed for a day holds a configuration that is a day old; ``time.monotonic`` on Linux would
not count that day.
"""

from __future__ import annotations

import functools
import time

#: Seconds since some moment; only differences mean something.
seconds = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
