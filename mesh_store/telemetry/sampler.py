"""Content samples on their way out of a process: a short queue, a thread, and no promise.

What a call said waits in memory only, is redacted on the thread before it goes anywhere, and is dropped
when too much waits, when Redis is away or more than half full, or when a plugin fails on it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from mesh_store.model.facts import Fact
from mesh_store.model.samples import Sample, bounded, request_text
from mesh_store.redis.client import connect
from mesh_store.redis.failures import FAILURES
from mesh_store.redis.sample_stream import MAXLEN, SAMPLES, STOP
from mesh_store.redis.stream import FactStream

log = logging.getLogger(__name__)

#: Samples that wait in a process at most; each holds at most 64 Ki characters of an answer.
WAITING = 64
#: Seconds between two looks at the server's memory, and how long one is left alone that was away.
LOOK_S, AWAY_S = 1.0, 5.0
DEADLINE_S = 1.0


class Raw(Protocol):
    """What a caller hands over; see `mesh_plugins.core.content.RawSample`."""

    @property
    def fact(self) -> Fact: ...

    @property
    def asked(self) -> Any: ...

    @property
    def answered(self) -> str: ...


Finish = Callable[[Sample, Fact], Sample | None]


class Sampler:
    """Sends samples from one process.

    Args:
        redis_url: the server that takes them.
        finish: what plugins make of a sample; None drops it.

    Attributes:
        counts: samples by what became of them: ``sent``, ``full`` (too many waited), ``away``, ``held``
            (the server's memory), ``dropped`` (by a plugin) and ``failed``.
    """

    def __init__(self, redis_url: str, finish: Finish) -> None:
        self.counts: Counter[str] = Counter()
        self._url, self._finish = redis_url, finish
        self._starting = threading.RLock()
        self._fresh()
        _samplers.add(self)

    def offer(self, raw: Raw) -> None:
        """Take a sample, or drop it when too many wait; microseconds, also from signal handlers."""
        if self._closed or self._queue.qsize() >= WAITING:
            self.counts["full"] += 1
            return
        self._queue.put(raw)
        if self._thread is None:
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing waits; True when nothing does."""
        thread = self._thread
        if thread is None:
            return not self._queue.qsize()
        if self._closed:
            thread.join(timeout_s)
            return not thread.is_alive()
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Send what can be sent in time; the rest is dropped."""
        if self._thread is not None:
            self.flush(timeout_s)
        self._closed = True
        self._queue.put(None)

    def _fresh(self) -> None:
        # A SimpleQueue may be put to from a signal handler or a finalizer; a Queue may not.
        # Events are set as they are reached: whoever waits for one knows that all before it is done.
        self._queue: queue.SimpleQueue[Raw | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._looked_at = self._away_until = float("-inf")
        self._full = False

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mesh-sampler", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        client = connect(self._url, deadline=DEADLINE_S)
        stream = FactStream(client)
        mine = self._queue
        while (raw := mine.get()) is not None:
            if isinstance(raw, threading.Event):
                raw.set()
                continue
            try:
                self.counts[self._send(client, stream, raw)] += 1
            except Exception:
                self.counts["failed"] += 1
                if self.counts["failed"] == 1:
                    log.exception("a content sample could not be made; further ones are only counted")
        with contextlib.suppress(*FAILURES):
            client.close()

    def _send(self, client: Any, stream: FactStream, raw: Raw) -> str:
        now = time.monotonic()
        if now < self._away_until:
            return "away"
        sample = _redacted(raw)
        finished = self._finish(sample, raw.fact)
        if finished is None or not (finished.request or finished.reply):
            return "dropped"
        try:
            if now - self._looked_at >= LOOK_S:
                self._full = stream.server().memory_share >= STOP
                self._looked_at = now
            if self._full:
                return "held"
            body = msgspec.msgpack.encode(finished)
            client.xadd(SAMPLES, {b"v": 1, b"b": body}, maxlen=MAXLEN, approximate=True)
        except FAILURES:
            self._away_until = time.monotonic() + AWAY_S
            return "away"
        return "sent"


def _redacted(raw: Raw) -> Sample:
    fact = raw.fact
    request, request_cut = request_text(raw.asked)
    reply, reply_cut = bounded(raw.answered)
    return Sample(
        fact_id=fact.id,
        call_id=fact.call_id,
        at_us=fact.started_at_us,
        team_id=fact.team_id,
        user_id=fact.user_id,
        key_id=fact.key_id,
        alias=fact.alias,
        model=fact.request_model,
        outcome=fact.outcome,
        request=request,
        reply=reply,
        cut=request_cut or reply_cut,
    )


def _after_fork_in_child() -> None:
    for sampler in list(_samplers):
        sampler._starting = threading.RLock()
        sampler._fresh()


_samplers: weakref.WeakSet[Sampler] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
