"""The caller's side: three verbs that cost microseconds and never fail.

A `Recorder` owns a ring and the thread that empties it. A forked child makes both anew with its
first record; what it inherited it closes without a word to the file or the server.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path

from mesh_store.model.facts import (
    Asked,
    Cancel,
    Done,
    Intent,
    LeaseAsked,
    LeaseEnded,
    Settlement,
    SlotsMoved,
)
from mesh_store.redis.client import connect
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.stream import FactStream
from mesh_store.telemetry.health import Health, health_of
from mesh_store.telemetry.legible import legible
from mesh_store.telemetry.pipeline import Pipeline
from mesh_store.telemetry.records import Closed, closed, encode
from mesh_store.telemetry.settling import Settler
from mesh_store.telemetry.writer import Ending

log = logging.getLogger(__name__)

RING_BYTES = 64 * 1024 * 1024
#: A ring made after `Recorder.close`: for the last generators the interpreter finalises.
LATE_RING_BYTES = 1024 * 1024
#: Seconds the shipper waits for a reply; nobody waits for the shipper.
SHIPPING_DEADLINE_S = 1.0
#: Seconds the interpreter's exit waits for what is still on its way.
EXIT_S = 0.5


class Recorder:
    """Writes what happened into this process's ring; a daemon thread brings it to Redis.

    Args:
        home: where the ring's file goes (``<home>/rings``); None keeps it in memory.
        redis_url: the server that holds the limits: settlements go there.
        telemetry_redis_url: the server that takes the facts; None means the same.
        ring_bytes: size of the ring.
        settler: settles and cancels; None makes a limiter on ``redis_url``.
        shards: number of streams the facts are spread over; collectors must use the same.
        leases: the slices calls draw from; a call that ends under one is trued up there.
    """

    def __init__(
        self,
        home: Path | str | None,
        redis_url: str,
        telemetry_redis_url: str | None = None,
        *,
        ring_bytes: int = RING_BYTES,
        settler: Settler | None = None,
        shards: int = 1,
        leases: LeaseBook | None = None,
    ) -> None:
        self._home = None if home is None else Path(home)
        self._redis_url = redis_url
        self._telemetry_url = telemetry_redis_url or redis_url
        self._ring_bytes = ring_bytes
        self._settler = settler
        self._shards = shards
        self._failed = 0
        self._closed = False
        self._last_health: Health | None = None
        self._is_child = False
        self._opening = threading.RLock()
        self._pipeline: Pipeline | None = None
        self._leases = leases
        if leases is not None:
            leases.ledger = self
        self._open()
        _recorders.add(self)

    def asked(self, asked: Asked) -> None:
        """Note that charges of a budget are about to be asked for; nobody has to be woken for it."""
        try:
            pipeline = self._pipeline or self._open()
            pipeline.writer.write(encode(asked), None, asked)
        except Exception as error:
            self._stumbled(error)

    def intent(self, intent: Intent) -> None:
        """Note that a call was granted and is about to be sent."""
        self._write(intent, intent)

    def done(self, done: Done) -> None:
        """Note how an attempt ended and, with the last one, what to settle."""
        if self._leases is None or (settlement := done.settlement) is None:
            self._write(done, done)
        else:
            self._leases.settle(settlement, partial(self._write_done, done))

    def cancel(self, cancel: Cancel) -> None:
        """Note a reservation whose answer was never read, to be given back."""
        if self._leases is None or not self._leases.cancel(cancel):
            self._write(cancel, cancel)
        else:
            closing = Closed(None, cancel.reservation_id)
            self._write(closing, closing)

    def lease(self, record: LeaseAsked | LeaseEnded | SlotsMoved) -> bool:
        """Note what becomes of a slice of limits; False when there is no room for it."""
        try:
            pipeline = self._pipeline or self._open()
            kept = pipeline.writer.keep(encode(record))
            if not kept and isinstance(record, LeaseEnded):
                pipeline.writer.lose_settlement()
            if pipeline.shipper.asleep:
                pipeline.shipper.wake()
        except Exception as error:
            self._stumbled(error)
            return False
        return kept

    def settle(self, settlement: Settlement) -> None:
        """Note what an extension of a reservation really took; it has no fact of its own."""
        if self._leases is None:
            self._write_settlement(settlement)
        else:
            self._leases.settle(settlement, self._write_settlement)

    def flush(self, timeout_s: float, *, collected: bool = False) -> bool:
        """Wait until everything so far is settled and in the stream; True when it is.

        Args:
            timeout_s: seconds to wait at most.
            collected: wait until it is in Postgres.
        """
        pipeline = self._pipeline
        return pipeline is None or pipeline.shipper.flush(timeout_s, collected=collected)

    def flush_settlements(self, timeout_s: float) -> bool:
        """Wait until everything so far is settled, wherever its facts are; True when it is."""
        pipeline = self._pipeline
        return pipeline is None or pipeline.shipper.flush_settlements(timeout_s)

    def close(self, timeout_s: float = EXIT_S, still_s: float | None = None) -> None:
        """Ship what can be shipped in time and end the thread; the rest waits in the file for a drain.

        Args:
            timeout_s: seconds to wait at most.
            still_s: give up after so many in which nothing is settled or shipped; None waits all the same.
        """
        if self._leases is not None:
            self._leases.end_all()
        with self._opening:
            pipeline, self._pipeline = self._pipeline, None
            self._closed = True
        if pipeline is not None:
            self._last_health = health_of(pipeline, self._failed)
            pipeline.close(timeout_s, still_s)

    def health(self) -> Health:
        """Return counters, after `close` those of its moment; not meant for the path of a call."""
        pipeline = self._pipeline
        if pipeline is None and self._last_health is not None:
            return self._last_health
        return health_of(pipeline or self._open(), self._failed)

    def _write_done(self, done: Done, settlement: Settlement | None) -> None:
        if settlement is not done.settlement:
            done = Done(done.fact, settlement, done.closes)
        self._write(done, done)

    def _write_settlement(self, settlement: Settlement | None) -> None:
        if settlement is not None:
            closing = Closed(settlement, None)
            self._write(closing, closing)

    def _write(self, record: Intent | Done | Cancel | Closed, done: Ending | None) -> None:
        try:
            pipeline = self._pipeline or self._open()
            written: Intent | Done | Cancel | Closed | None = record
            try:
                encoded = encode(record)
            except (TypeError, ValueError, OverflowError) as error:
                if isinstance(done, Done):
                    pipeline.writer.lose_fact(done.fact)
                    done = Closed(done.settlement, done.closes)
                elif isinstance(done, Intent):
                    # The call goes on: should its process die, its money must not be free.
                    done = Intent(legible(done.lost), done.reservation, done.deadline_us, done.also)
                encoded, written = self._remainder(done, error), None
            pipeline.writer.write(encoded, done, written)
            if pipeline.shipper.asleep:
                pipeline.shipper.wake()
        except Exception as error:
            self._stumbled(error)

    def _stumbled(self, error: Exception) -> None:
        self._failed += 1
        if self._failed == 1:
            said = "a telemetry record could not be written; further ones are only counted"
            log.error(said, exc_info=error)

    def _remainder(self, done: Ending | None, error: Exception) -> bytes:
        """Return what can be written where a plugin made a fact that cannot be encoded.

        Of a `Done` its settlement, of an `Intent` what its fact says legibly.
        """
        remainder = encode(done) if isinstance(done, Intent) else None
        if isinstance(done, Closed | Done):
            remainder = closed(done)
        if remainder is None:
            raise error
        self._failed += 1
        log.error("a fact could not be encoded; the rest of its record was written", exc_info=error)
        return remainder

    def _open(self) -> Pipeline:
        with self._opening:
            if self._pipeline is None:
                settler = self._settler or _limiter(self._redis_url)
                stream = FactStream(
                    connect(self._telemetry_url, deadline=SHIPPING_DEADLINE_S), shards=self._shards
                )
                size = min(self._ring_bytes, LATE_RING_BYTES) if self._closed else self._ring_bytes
                self._pipeline = Pipeline(self._home, size, settler, stream, ship=not self._closed)
                if self._pipeline.file.reason is not None and self._home is not None:
                    log.warning("telemetry is kept in memory only: %s", self._pipeline.file.reason)
                if self._is_child and (util := sys.modules.get("multiprocessing.util")) is not None:
                    # Its children leave by os._exit, which runs these finalizers but no atexit; and it
                    # clears them after our fork hook, so they are registered with the first record.
                    util.Finalize(self, _close, args=(weakref.ref(self),), exitpriority=0)
            return self._pipeline

    def _forked(self) -> None:
        """Make a fresh start in a forked child; nothing is sent, unlocked or deleted."""
        pipeline, self._pipeline = self._pipeline, None
        self._opening = threading.RLock()
        self._failed = 0
        self._last_health = None
        if pipeline is not None:
            pipeline.file.abandon()
        self._is_child = True


def _limiter(redis_url: str) -> Settler:
    from mesh_store.redis.leasing import LeasingLimiter

    limiter: Settler = LeasingLimiter(connect(redis_url, deadline=SHIPPING_DEADLINE_S))
    return limiter


def _close(recorder: weakref.ref[Recorder]) -> None:
    alive = recorder()
    if alive is not None:
        alive.close()


def _close_all() -> None:
    deadline = time.monotonic() + EXIT_S
    for recorder in list(_recorders):
        recorder.close(max(0.0, deadline - time.monotonic()))


def _after_fork_in_child() -> None:
    for recorder in list(_recorders):
        recorder._forked()


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
