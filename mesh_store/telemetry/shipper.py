"""The daemon thread that brings the ring's records to Redis, and is never waited for by a call.

It looks every 20 ms while something is on its way or a call is running, and sleeps otherwise; a writer
wakes it only when it says that it sleeps. While Redis is away it backs off with jitter. What limits hold
goes first: facts that cannot be shipped keep no settlement waiting, but for the deadline of each attempt.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable

from mesh_store.model.ids import now_us
from mesh_store.telemetry.adoption import Adoption
from mesh_store.telemetry.housing import Housing
from mesh_store.telemetry.losses import Losses
from mesh_store.telemetry.own import OwnDelivery
from mesh_store.telemetry.settling import Away
from mesh_store.telemetry.silence import Silence
from mesh_store.telemetry.watch import Watch

log = logging.getLogger(__name__)

#: Seconds between two looks while records come in: each takes the interpreter from a caller in the middle
#: of its call, and costs less the more it finds. Who waits for a settlement flushes, which rings the bell.
POLL_S = 0.02
#: Looks without a new record after which a running call no longer keeps the thread awake.
RESTLESS_LOOKS = 50
#: Seconds between two questions for the commit, doubled from the first to the second.
ASK_S = (0.1, 1.0)
#: Seconds to wait after a failure, doubled from the first to the second.
BACK_OFF_S = (0.05, 5.0)


class Shipper:
    """Runs one `OwnDelivery`, and between its steps the rings of dead processes.

    Attributes:
        errors: how often Redis could not be used.
        last_error: the newest of them, or None.
        asleep: True when a writer has to wake it.
        adoption: of rings of dead processes, or None.
        housing: of a ring that had to begin in memory, or None.
    """

    def __init__(self, delivery: OwnDelivery, watch: Watch, losses: Losses) -> None:
        self.delivery = delivery
        self.adoption: Adoption | None = None
        self.housing: Housing | None = None
        self._losses = losses
        self._silence = Silence()
        self.errors = 0
        self.last_error: str | None = None
        self.asleep = False
        self._watch = watch
        self._failures = 0
        self._unshipped, self._ship_at = 0, float("-inf")
        self._looks = 0
        self._seen = 0
        self._adopt_at = 0.0
        self._ask_every = ASK_S[0]
        self._ask_at = 0.0
        self._urgent = False
        self._stopping = False
        # A SimpleQueue may be put to from a signal handler; an Event or a Condition may not.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="mesh-shipper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Wake the thread; safe from signal handlers."""
        self.asleep = False
        self._bell.put(None)

    def flush_settlements(self, timeout_s: float) -> bool:
        """Wait until what is in the ring now is settled, whether its facts can be shipped or not."""
        return self._wait(timeout_s, lambda delivery: delivery.settled, urgent=False)

    def flush(self, timeout_s: float, *, collected: bool = False) -> bool:
        """Wait until what is in the ring now is settled and shipped, and committed if asked."""
        if collected:
            return self._wait(timeout_s, lambda delivery: delivery.collected)
        return self._wait(timeout_s, lambda delivery: delivery.shipped)

    def _wait(self, timeout_s: float, reached: Callable[[OwnDelivery], int], *, urgent: bool = True) -> bool:
        target = self.delivery.ring.head

        def arrived() -> bool:
            return reached(self.delivery) >= target

        deadline = time.monotonic() + timeout_s
        self._urgent |= urgent
        self.wake()
        with self._progress:
            while not arrived():
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return arrived()
                self._urgent |= urgent
                self._progress.wait(min(left, 0.05))
        return True

    def stop(self, timeout_s: float) -> bool:
        """End the thread; True when it has ended and the ring may be closed."""
        self._stopping = True
        self.wake()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait = self._turn()
                self._failures = 0
            except Away as error:
                self._failures += 1
                wait = self._away(error, self._failures)
            except Exception as error:
                # The only shipper must outlive a bug of its own; it is counted and logged.
                log.exception("the telemetry shipper stumbled")
                self._failures += 1
                wait = self._away(error, self._failures)
            self._tell()
            self._sleep(wait)
        if self.adoption is not None:
            self.adoption.close()

    def _turn(self) -> float | None:
        """Do what can be done now; return the seconds until the next turn, None for "when woken"."""
        delivery, now = self.delivery, time.monotonic()
        if self.housing is not None and self.housing.found(now):
            self.housing = None
        delivery.settle()
        self._tell()
        delivery.leases.renew(now)
        urgent, self._urgent = self._urgent, False
        if urgent or now >= self._ship_at:
            try:
                self._ship(now, urgent)
                self._unshipped = 0
            except Away as error:
                # Where facts go is away: what limits hold is freed and renewed all the same.
                self._unshipped += 1
                self._ship_at = time.monotonic() + self._away(error, self._unshipped)
        left = self._ship_at - time.monotonic()
        if left <= 0:
            return self._rest(now)
        if self._restless() or delivery.settled < delivery.ring.head:
            return POLL_S
        renewal = delivery.leases.next_due
        return max(left if renewal is None else min(left, renewal - now), POLL_S)

    def _ship(self, now: float, urgent: bool) -> None:
        """Ship what is settled, and learn what was committed.

        Raises:
            Away: the server that takes the facts cannot be used now.
        """
        delivery = self.delivery
        asking = delivery.unacknowledged
        while delivery.ship(now, force=urgent):
            # Nobody commits what was sent just now, and what was sent before must not wait for long.
            self._ask_every, first = ASK_S[0], now + ASK_S[0]
            self._ask_at, asking = min(self._ask_at, first) if asking else first, True
        delivery.make_room()
        if delivery.unacknowledged:
            if now >= self._ask_at or urgent:
                delivery.look(now)
                delivery.acknowledge(now_us())
                if not urgent:
                    self._ask_every = min(self._ask_every * 2, ASK_S[1])
                self._ask_at = now + (POLL_S if urgent else self._ask_every)
        elif delivery.committed < delivery.shipped:
            delivery.acknowledge(now_us())
        self._silence.heard(now, delivery.committed, waiting=delivery.unacknowledged)
        self._losses.tell()

    def _rest(self, now: float) -> float | None:
        """Return how long nothing has to be done, doing what is nobody's hurry first."""
        delivery = self.delivery
        if self._restless() or delivery.unshipped:
            return POLL_S
        if (soon := self._adopt(now)) is not None:
            return soon
        waits = [self._ask_at - now] if delivery.unacknowledged else []
        if (renewal := delivery.leases.next_due) is not None:
            waits.append(renewal - now)
        if self.housing is not None and delivery.ring.tail < delivery.ring.head:
            waits.append(self.housing.due - now)
        return max(min(waits), POLL_S) if waits else None

    def _restless(self) -> bool:
        """Stay awake a while after the last record: waking costs the caller a thread switch."""
        head = self.delivery.ring.head
        self._looks = 0 if head != self._seen else self._looks + 1
        self._seen = head
        return self.delivery.open_intents > 0 and self._looks < RESTLESS_LOOKS

    def _adopt(self, now: float) -> float | None:
        """Do a step for the dead; their trouble must not hold up the living."""
        if self.adoption is None or now < self._adopt_at:
            return None
        try:
            return self.adoption.step(now)
        except Away as error:
            self.errors += 1
            self.last_error = str(error)
            self._watch.doubt()
            self._adopt_at = now + BACK_OFF_S[1]
            return BACK_OFF_S[1]

    def _tell(self) -> None:
        with self._progress:
            self._progress.notify_all()

    def _away(self, error: Exception, failures: int) -> float:
        self.errors += 1
        self.last_error = str(error)
        self._watch.doubt()
        self._silence.heard(time.monotonic(), self.delivery.committed, waiting=False)
        ceiling = min(BACK_OFF_S[0] * 2 ** min(failures, 10), BACK_OFF_S[1])
        return random.uniform(ceiling / 2, ceiling)

    def _sleep(self, seconds: float | None) -> None:
        """Wait for the time or the bell; while records come in anyway, nobody needs to ring."""
        if self._stopping:
            return
        if seconds is not None and seconds <= POLL_S:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=seconds)  # who waits for a flush rings
            return
        self.asleep = self._failures == 0
        # A record written between the last look and the line above rang nobody.
        if self.asleep and self.delivery.settled < self.delivery.ring.head:
            self.asleep = False
            return
        with contextlib.suppress(queue.Empty):
            self._bell.get(timeout=seconds)
        self.asleep = False
