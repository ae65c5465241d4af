"""Who is there: every process that makes calls says so, and hears how many do.

A sorted set ``mesh:clients`` holds one member per live process, scored by the server's time of its
last beat. The count divides limits among processes while Redis is away (`mesh_store.redis.outage`).
It is believed from a process' second beat on: by then every other live process has counted it, so
that all shares together never exceed the whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

import redis

from mesh_store.model.errors import MeshError
from mesh_store.redis.answers import outcomes
from mesh_store.redis.client import connect
from mesh_store.redis.driver import Driver
from mesh_store.redis.failures import FAILURES
from mesh_store.redis.scripts import PRESENCE
from mesh_store.redis.steps import Course, raise_first
from mesh_store.redis.wire import Call

log = logging.getLogger("mesh.limits")

#: Where live processes are.
CLIENTS_KEY = "mesh:clients"

#: Seconds between beats, and how long a process is counted after its last one.
BEAT_S, GONE_AFTER_S = 5.0, 15.0

#: Seconds a beat may take.
_DEADLINE_S = 1.0


class Presence:
    """Beats for this process from a thread of its own, and knows how many others do.

    Args:
        url: the server.
        beat_s: seconds between beats.
        make_client: connects; for tests.
    """

    def __init__(
        self, url: str, *, beat_s: float = BEAT_S, make_client: Callable[..., redis.Redis] = connect
    ) -> None:
        self._url, self._beat_s, self._make_client = url, beat_s, make_client
        self._begin()
        _present.add(self)

    def _begin(self) -> None:
        self._member = os.urandom(8).hex()
        self._beats = 0
        self._first_at = 0.0
        self._seen: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mesh-presence", daemon=True)
        self._client: redis.Redis | None = None

    @property
    def count(self) -> int | None:
        """How many processes were live when last heard, this one included; None while not known."""
        return self._seen

    def start(self) -> None:
        """Start beating; does not wait for Redis."""
        if self._thread.ident is None and not self._stop.is_set():
            self._thread.start()

    def close(self, timeout_s: float = 2 * _DEADLINE_S) -> None:
        """Stop, and be counted no longer; whoever cannot say so in time is forgotten after a while."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def beat(self) -> None:
        """Say that this process lives and hear how many do; raises what the limiter raises."""
        if self._client is None:
            self._client = self._make_client(self._url, deadline=_DEADLINE_S)
        live: int = Driver(self._client).follow(_beat(self._member, GONE_AFTER_S))
        now = time.monotonic()
        if not self._beats:
            self._first_at = now
        self._beats += 1
        if self._beats > 1 and now - self._first_at >= self._beat_s * 0.9:
            self._seen = max(1, live)

    def _run(self) -> None:
        while True:
            # An outage: what was heard last stays true for us.
            with contextlib.suppress(MeshError):
                self.beat()
            if self._stop.wait(self._beat_s):
                break
        if self._client is not None:
            with contextlib.suppress(*FAILURES):
                self._client.zrem(CLIENTS_KEY, self._member)
            self._client.close()

    def _after_fork(self) -> None:
        # The child is another process, unseen by anybody yet; the parent's socket is left alone.
        _inherited.append((self._client, self._thread))
        started = self._thread.ident is not None and not self._stop.is_set()
        self._begin()
        if started:
            self.start()


def _beat(member: str, gone_after_s: float) -> Course:
    [reply] = yield [Call(PRESENCE, [CLIENTS_KEY], [member, str(int(gone_after_s * 1_000_000))])]
    raise_first([reply], member)
    return outcomes(reply, 1)[0]


_present: weakref.WeakSet[Presence] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    for presence in list(_present):
        presence._after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
