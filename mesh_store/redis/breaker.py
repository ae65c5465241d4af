"""A circuit breaker: after a few failures in a row nobody waits for Redis until a probe gets through.

::

    closed ──5 failures in a row──► open ──1 s, doubling to 30 s──► probing ──answer──► closed
                                     ▲                                │
                                     └────────────failure─────────────┘

One probe at a time, and it is an ordinary call: nothing is sent for the sake of probing.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from typing import Literal

from mesh_store.model.forking import forkable_lock

log = logging.getLogger("mesh.limits")

#: Failures in a row after which Redis is not asked any more.
FAILURES_TO_OPEN = 5

#: Seconds it stays open the first time, and at the most.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

#: Each pause is this much shorter or longer by chance, so that a fleet does not probe in step.
JITTER = 0.2

State = Literal["closed", "open", "probing"]


class Breaker:
    """Says whether to ask, and learns from the answers; serves threads and event loops alike.

    Args:
        changed: told True when it opens and False when it closes, once each.
        clock: monotonic seconds.
        jitter: a number from -1 to 1.

    Attributes:
        failures: how often Redis could not decide.
        opened: how often it opened.
        skipped: how often Redis was not asked because it was open.
        last_error: the newest failure, or None.
        failed_at: when that was, by its clock.
    """

    def __init__(
        self,
        changed: Callable[[bool], None] = lambda is_open: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
    ) -> None:
        self._changed, self._clock, self._jitter = changed, clock, jitter
        self.failures = self.opened = self.skipped = 0
        self.last_error: str | None = None
        self.failed_at = float("-inf")
        self._start_afresh()

    def another(self) -> Breaker:
        """Make one for another server, which tells the same."""
        return Breaker(self._changed, clock=self._clock, jitter=self._jitter)

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = forkable_lock()
        self._in_a_row = 0
        self._pause_s = FIRST_PAUSE_S
        self._until: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """``closed`` asks, ``open`` does not, ``probing`` waits for one answer."""
        if self._until is None:
            return "closed"
        return "probing" if self._probing else "open"

    @property
    def retry_after_s(self) -> float:
        """Seconds until the next probe may go."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def may_ask(self) -> bool:
        """Tell whether to ask Redis; True must be followed by `answered`, `failed` or `given_up`."""
        if self._pid != os.getpid():
            # A forked child: a lock may be held for ever by a thread that is not here.
            self._start_afresh()
        if self.state == "closed":
            return True
        with self._lock:
            until = self._until
            if until is not None and (self._probing or self._clock() < until):
                self.skipped += 1
                return False
            self._probing = until is not None
            return True

    def answered(self) -> None:
        """Note that Redis decided."""
        if self._until is None and not self._in_a_row:
            return
        with self._lock:
            closes = self._until is not None
            self._in_a_row, self._pause_s, self._until, self._probing = 0, FIRST_PAUSE_S, None, False
        if closes:
            log.warning("Redis decides about limits again")
            self._changed(False)

    def failed(self, error: BaseException) -> None:
        """Note that Redis could not decide."""
        with self._lock:
            self.failures += 1
            self._in_a_row += 1
            self.last_error, self.failed_at = str(error), self._clock()
            opens = self._until is None and self._in_a_row >= FAILURES_TO_OPEN
            if opens or self._probing:
                self._until = self._clock() + self._pause_s * (1 + JITTER * self._jitter())
                self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
                self._probing = False
            self.opened += opens
        if opens:
            log.warning("Redis is not asked about limits for a while, their policies decide: %s", error)
            self._changed(True)

    def given_up(self) -> None:
        """Note that an answer was not waited for: a cancelled caller learns nothing."""
        with self._lock:
            self._probing = False
