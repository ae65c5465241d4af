"""Says in the log that facts are put into the stream and nobody commits them."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

#: Seconds without a commit, while some are waited for, after which it is said.
SILENT_S = 60.0


class Silence:
    """Watches for commits, and says once in a process' life that none comes."""

    def __init__(self) -> None:
        self._committed = -1
        self._since = 0.0
        self._told = False

    def heard(self, now: float, committed: int, *, waiting: bool) -> None:
        """Take note of how far commits are.

        Args:
            now: monotonic seconds.
            committed: position in the ring up to which everything is committed.
            waiting: True when what was sent is not all committed, and the server can be asked.
        """
        if not waiting or committed != self._committed:
            self._committed, self._since = committed, now
        elif now - self._since >= SILENT_S and not self._told:
            self._told = True
            log.warning(
                "facts of this process wait in Redis, and none was committed for %.0f s: "
                "is `mesh collect` or `mesh serve` running, and does it reach Postgres?",
                now - self._since,
            )
