"""The course of one granted call, from its first attempt to its settlement, without colour.

A driver asks for the next attempt, sends it, and says how it went; the course decides what follows
and writes exactly one settlement whatever happens: an answer, a failure, a cancelled task, an
abandoned stream, a collected object. Thread-safe, because a stream may be closed by another thread
or by the garbage collector. In a forked child it ends without a word: the call is the parent's.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from mesh_plugins.core.call import Attempt, Outcome, ProviderCall, ProviderReply, Receipt, Reservation
from mesh_plugins.core.content import listen
from mesh_plugins.core.cutting import Bound, bound_of, cut_error
from mesh_plugins.core.extending import Extending, missing
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.inherited import Unrecorded
from mesh_plugins.core.parameters import merged
from mesh_plugins.core.ports import RecorderPort, SamplePort
from mesh_plugins.core.reserve import DRAIN_US, intent_of
from mesh_plugins.core.retries import Health, RetryBudget, Step, next_step, transient
from mesh_plugins.core.settle import estimated_usage, failed_attempt, settled, taken_by
from mesh_store.model.errors import ProviderError, QuotaExceeded
from mesh_store.model.facts import Done, FactOutcome, Settlement
from mesh_store.model.forking import process
from mesh_store.model.ids import now_us
from mesh_store.model.usage import Usage


class Course:
    """One reservation on its way to one outcome.

    Attributes:
        reservation: what was granted.
        receipt: what the call took, once it ended; else None.
    """

    __slots__ = (
        "_attempts",
        "_bound",
        "_budget",
        "_call",
        "_cause",
        "_ending",
        "_first_chunk_ns",
        "_health",
        "_heard",
        "_hooks",
        "_lock",
        "_process",
        "_recorder",
        "_repeats",
        "_samples",
        "_sent",
        "_started_ns",
        "_started_us",
        "_target",
        "receipt",
        "reservation",
    )

    def __init__(
        self,
        reservation: Reservation,
        *,
        hooks: Hooks,
        recorder: RecorderPort,
        health: Health,
        budget: RetryBudget,
        samples: SamplePort | None = None,
    ) -> None:
        self.reservation = reservation
        self.receipt: Receipt | None = None
        self._ending: tuple[Receipt, Done, list[Settlement]] | None = None
        self._hooks, self._recorder, self._health, self._budget = hooks, recorder, health, budget
        self._attempts: list[Attempt] = []
        self._target = self._repeats = 0
        self._lock, self._process = threading.Lock(), process()
        self._call: ProviderCall | None = None
        self._bound: Bound | None = None
        self._cause: ProviderError | None = None
        self._sent = False
        self._started_ns = self._started_us = 0
        self._first_chunk_ns: int | None = None
        self._samples = samples
        self._heard = None if samples is None else listen(reservation.plan)
        budget.earn()

    def begin(self) -> ProviderCall:
        """Start the next attempt and return what to send, its secret not read yet."""
        plan = self.reservation.plan
        target = plan.targets[self._target]
        provider = plan.snapshot.provider(target.provider)
        self._started_us, self._started_ns, self._first_chunk_ns = now_us(), time.monotonic_ns(), None
        self._bound = bound_of(plan, target, self._hooks)
        self._call = ProviderCall(
            request=plan.request,
            provider=provider,
            target=target,
            secret=None,
            payload=merged(plan.request, plan.alias, target),
            stream=plan.request.stream,
            timeout_s=max(0.001, self._left_s()),
            attempt=len(self._attempts) + 1,
        )
        return self._call

    def sending(self, call: ProviderCall) -> ProviderCall:
        """Note that ``call``, its secret read, goes out now: from here on it may be billed."""
        self._sent = True
        return call

    @property
    def sent(self) -> bool:
        """True once the present attempt went out."""
        return self._sent

    def chunk(self, said: Any = None) -> None:
        """Note a chunk of a stream: when the first came, and, where samples are on, what it says."""
        if self._first_chunk_ns is None:
            self._first_chunk_ns = time.monotonic_ns()
        if self._heard is not None:
            self._heard.hear(said)

    @property
    def listens(self) -> bool:
        """True where samples are on, so that what the answer says is kept."""
        return self._heard is not None

    def hear(self, said: Any) -> None:
        """Take what a host knows of the answer's text; kept only where samples are on."""
        if self._heard is not None:
            self._heard.hear(said)

    def exhausted(self, reply: ProviderReply) -> QuotaExceeded | None:
        """Return what cuts the stream now, once it outgrew what was reserved; the course ends with it."""
        bound = self._bound
        if bound is None or reply.output_chars <= bound.chars:
            return None
        reply.flags = (*reply.flags, "cut")
        self._finish("cancelled", reply, None)
        return cut_error(bound, reply.output_chars)

    def succeeded(self, reply: ProviderReply) -> Receipt:
        """End the call with a complete answer."""
        if self._call is not None:
            self._health.succeeded(self._call.target.id)
        if self._heard is not None and reply.body is not None:
            self._heard.hear(reply.body)
        return self._finish("ok", reply, None)

    def failed(self, error: ProviderError) -> Step | None:
        """Note a failed attempt; return the next one, or None when the call ended with it."""
        self._cause = error
        step = next_step(
            error,
            target=self._target,
            targets=len(self.reservation.plan.targets),
            repeats=self._repeats,
            left_s=self._left_s(),
            budget=self._budget,
        )
        if transient(error):
            self._health.failed(self.reservation.plan.targets[self._target].id, error.retry_after)
        error.attempts = tuple(a.error for a in self._attempts if a.error is not None)
        outcome: FactOutcome = "timeout" if error.kind == "timeout" else "error"
        if step is None:
            self._finish(outcome, None, error)
            return None
        with self._ours():
            attempt = self._attempt(outcome, None, error)
            self._attempts.append(attempt)
            self._recorder.done(failed_attempt(self.reservation, attempt, len(self._attempts), self._hooks))
            number = len(self._attempts) + 1
            self._recorder.intent(intent_of(self.reservation, self._hooks, step.target, number))
        self._repeats = self._repeats + 1 if step.target == self._target else 0
        self._target = step.target
        # Whatever ends the call during the pause ends an attempt that was never sent.
        self._call, self._sent, self._first_chunk_ns = None, False, None
        if self._heard is not None:
            self._heard.begin_again()
        return step

    def extending(self) -> Extending | None:
        """Return the question for what the next attempt needs beyond what was reserved, or None."""
        plan = self.reservation.plan
        taken = taken_by(self._attempts, plan, self._hooks)
        charges = missing(self.reservation, self._target, taken)
        if not charges:
            return None
        ttl_us = plan.timeout_us + DRAIN_US
        return Extending(self._recorder, self.reservation, charges, ttl_us)

    def extended(self) -> None:
        """Put what was granted on top into the ring, so that its slots are kept."""
        self._recorder.intent(intent_of(self.reservation, self._hooks, self._target, len(self._attempts) + 1))

    def passed_over(self) -> ProviderError | None:
        """Go on to the target after one that had no room; return how the call ended when there is none."""
        if self._target + 1 < len(self.reservation.plan.targets) and self._left_s() > 0:
            self._target, self._repeats = self._target + 1, 0
            return None
        self._finish("denied", None, self._cause)
        return self._cause

    def ended(
        self, outcome: FactOutcome, reply: ProviderReply | None, error: ProviderError | None = None
    ) -> None:
        """End the call early: cancelled, abandoned, incomplete, or failed in the middle of a stream."""
        self._finish(outcome, reply, error)

    def _finish(
        self, outcome: FactOutcome, reply: ProviderReply | None, error: ProviderError | None
    ) -> Receipt:
        with self._ours():
            if self.receipt is not None:
                return self.receipt
            if self._ending is None:
                ended = Outcome(self.reservation, (*self._attempts, self._attempt(outcome, reply, error)))
                self._ending = settled(ended, self._hooks)
            # A signal may come in between: what is written down again is the same, and counts once.
            receipt, done, further = self._ending
            for settlement in further:
                self._recorder.settle(settlement)
            self._recorder.done(done)
            self.receipt = receipt
            if self._heard is not None and self._samples is not None:
                self._samples.offer(self._heard.sample(self.receipt.fact))
            return self.receipt

    def __del__(self) -> None:
        # Left by a signal's handler before anybody was to end it; what is not all there took nothing.
        if getattr(self, "receipt", self) is None:
            self._finish("cancelled", None, None)

    def _ours(self) -> threading.Lock:
        """Return the lock; in a forked child a free one, and whatever ends there is not written down."""
        if self._process is not process():
            self._lock, self._process = threading.Lock(), process()
            self._recorder, self._samples = Unrecorded(), None
        return self._lock

    def _attempt(
        self, outcome: FactOutcome, reply: ProviderReply | None, error: ProviderError | None
    ) -> Attempt:
        usage = reply.usage if reply else None
        if self._call is None:  # ended between two attempts
            self._started_us, self._started_ns = now_us(), time.monotonic_ns()
        if not self._sent:
            usage = Usage()  # nothing can have been billed
        elif usage is None:
            usage = estimated_usage(self.reservation, reply, outcome, error)
        first = self._first_chunk_ns
        return Attempt(
            call=self._call or self._unsent(),
            started_at_us=self._started_us,
            duration_us=(time.monotonic_ns() - self._started_ns) // 1_000,
            ttft_us=None if first is None else (first - self._started_ns) // 1_000,
            outcome=outcome,
            usage=usage,
            reply=reply,
            error=error,
            sent=self._sent,
        )

    def _unsent(self) -> ProviderCall:
        plan = self.reservation.plan
        target = plan.targets[self._target]
        return ProviderCall(
            plan.request, plan.snapshot.provider(target.provider), target, None, {}, False, 0.0, 1
        )

    def _left_s(self) -> float:
        spent_ns = time.monotonic_ns() - self.reservation.started_ns
        return self.reservation.plan.timeout_us / 1e6 - spent_ns / 1e9
