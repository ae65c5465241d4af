"""What a caller's process holds: the newest configuration, kept current by a daemon thread.

Configuration never goes backwards in (epoch, revision): a Redis that was flushed or replaced by an
older state is not believed until somebody has published again. A process that cannot reach Redis
keeps, or boots from, the last good configuration, for ``max_stale_s``, and says so.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Self

from mesh_store.model.errors import ConfigUnavailable
from mesh_store.model.snapshot import Snapshot
from mesh_store.redis.servers.address import shown
from mesh_store.sync.clock import seconds
from mesh_store.sync.follower import READ_DEADLINE, Follower, OnChange
from mesh_store.sync.keys import KeyCache
from mesh_store.sync.last_good import LastGood
from mesh_store.sync.replica import Replica
from mesh_store.sync.trust import Trust

#: Seconds a first look waits for Redis although there is a copy on disk.
FIRST_ANSWER_S = 0.25
#: Polls without a confirmation after which what is held is called stale.
LIVE_POLLS = 3

State = Literal["live", "stale", "none"]


class Status(NamedTuple):
    """How the configuration of this process stands.

    Attributes:
        state: ``live``; ``stale``: Redis did not confirm it lately; ``none``: there is none.
        age_s: seconds since Redis last confirmed it, or None.
        revision: of the snapshot, or None.
        refused: snapshots and deltas that were damaged, older or not genuine.
        keys_refused: the same of key entries.
        connects: how many connections were made.
        redis, disk: what asking them came to last.
    """

    state: State
    age_s: float | None
    revision: int | None
    refused: int
    keys_refused: int
    connects: int
    redis: str
    disk: str


class Subscriber:
    """Follows the published configuration.

    Args:
        redis_url: where it is published.
        disk: folder for the last good copy, or None for no copy.
        on_change: called in the thread with the old snapshot (None at first) and the new one.
        poll_s: seconds between polls, give or take a fifth.
        max_stale_s: how long a configuration is honoured that Redis no longer confirms.
        trust: whose configuration counts; by default the first publisher's that is seen.
        clock: seconds that only grow.

    Attributes:
        trust: whom this process believes.
        keys: finds the entries of callers' keys.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        disk: Path | None = None,
        on_change: OnChange | None = None,
        poll_s: float = 1.0,
        max_stale_s: float = 86_400.0,
        trust: Trust | None = None,
        clock: Callable[[], float] = seconds,
    ) -> None:
        self._url = redis_url
        self._on_change = on_change
        self._poll_s = poll_s
        self._max_stale_s = max_stale_s
        self._clock = clock
        self.trust = trust or Trust()
        self._replica = Replica(self.trust)
        self.keys = KeyCache(
            redis_url, trust=self.trust, max_stale_s=max_stale_s, ensure_followed=self.start, clock=clock
        )
        self._last_good = LastGood(disk, redis_url, self._replica, self.keys.table, self.trust, clock)
        self._booted = self._closed = False
        self._lock = threading.Lock()
        self._follower = self._new_follower(float("-inf"))
        _subscribers.add(self)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Take in the copy on disk and start following; does not wait for Redis."""
        with self._lock:
            if self._closed or self._follower.thread.ident is not None:
                return
            if not self._booted:
                age_s = self._last_good.boot()
                if age_s is not None:
                    self._follower.confirmed_at = self._clock() - age_s
                self._booted = True
            self._follower.thread.start()

    def snapshot(self) -> Snapshot:
        """Return the configuration as of now; the first call waits for Redis' first answer.

        Raises:
            ConfigUnavailable: there is none, or it is too old; says what was tried.
        """
        made, follower = self._replica.made, self._follower
        if (
            made is not None
            and follower.asked.is_set()
            and self._clock() - follower.confirmed_at < self._max_stale_s
        ):
            return made.snapshot
        return self._first_snapshot()

    def wait(self, revision: int, timeout: float) -> Snapshot | None:
        """Return the snapshot once it has at least ``revision``; None after ``timeout`` seconds."""
        self.start()
        with self._follower.changed:
            self._follower.changed.wait_for(lambda: self._has(revision), timeout)
        made = self._replica.made
        return made.snapshot if made is not None and made.snapshot.revision >= revision else None

    @property
    def age_s(self) -> float | None:
        """Seconds since Redis last confirmed the configuration; None when there is none."""
        return None if self._replica.made is None else max(0.0, self._clock() - self._follower.confirmed_at)

    @property
    def state(self) -> State:
        """``live``, ``stale`` or ``none``."""
        age_s = self.age_s
        if age_s is None:
            return "none"
        return "live" if age_s <= LIVE_POLLS * self._poll_s else "stale"

    def status(self) -> Status:
        """Return all there is to know, for ``mesh doctor`` and ``mesh watch``."""
        made, replica = self._replica.made, self._replica
        return Status(
            state=self.state,
            age_s=self.age_s,
            revision=None if made is None else made.snapshot.revision,
            refused=replica.refused,
            keys_refused=self.keys.table.refused,
            connects=self._follower.connects,
            redis=self._follower.said,
            disk=self._last_good.said,
        )

    def close(self, timeout_s: float = READ_DEADLINE) -> None:
        """Stop following, after a last write to disk; a thread that waits for Redis ends by itself."""
        self._closed = True
        self._follower.stop(timeout_s)
        if self._follower.thread.is_alive():
            self._last_good.save(self._follower.confirmed_at, at_once=True)
        self.keys.close()

    def _has(self, revision: int) -> bool:
        made = self._replica.made
        return made is not None and made.snapshot.revision >= revision

    def _first_snapshot(self) -> Snapshot:
        self.start()
        follower = self._follower
        if not self._closed:
            follower.asked.wait(READ_DEADLINE if self._replica.made is None else FIRST_ANSWER_S)
        made = self._replica.made
        age_s = self._clock() - follower.confirmed_at
        if made is None:
            raise ConfigUnavailable(f"there is no configuration. {self._tried()}")
        if age_s >= self._max_stale_s:
            raise ConfigUnavailable(
                f"the configuration (revision {made.snapshot.revision}) was last confirmed {age_s:.0f} s "
                f"ago, more than the {self._max_stale_s:.0f} s allowed. {self._tried()}"
            )
        return made.snapshot

    def _tried(self) -> str:
        return f"Tried {shown(self._url)}: {self._follower.said}. Disk: {self._last_good.said}."

    def _new_follower(self, confirmed_at: float) -> Follower:
        return Follower(
            self._url,
            self._replica,
            self.keys,
            self._last_good,
            self.trust,
            on_change=self._on_change,
            poll_s=self._poll_s,
            clock=self._clock,
            confirmed_at=confirmed_at,
        )

    def _after_fork(self) -> None:
        # The thread is not here, its locks may be held for ever, and its sockets are the parent's:
        # kept from the garbage collector, never touched.
        _inherited.append(self._follower)
        self._lock = threading.Lock()
        self._follower = self._new_follower(self._follower.confirmed_at)
        self._last_good.after_fork()
        self.keys.after_fork()

    def _at_exit(self) -> None:
        # A daemon thread does not survive the interpreter; what a short script learned should.
        self._follower.stop(0.0)
        self._last_good.save(self._follower.confirmed_at, at_once=True)


_subscribers: weakref.WeakSet[Subscriber] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    for subscriber in list(_subscribers):
        subscriber._after_fork()


@atexit.register
def _at_exit() -> None:
    for subscriber in list(_subscribers):
        subscriber._at_exit()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
