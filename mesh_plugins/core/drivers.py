"""The whole life of a call, in two colours side by side; they differ only in ``await``.

::

    plan ──► reserve ──► [ send ]* ──► settle
    pure     one wait    per attempt   one record into the ring

Everything that decides is elsewhere and plain (`plan`, `reserve`, `course`); here is only the order
of things, the waiting, and the promise that every granted call ends in exactly one settlement.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

from mesh_plugins.core.call import CallRequest, Plan, ProviderCall, Receipt, Reservation
from mesh_plugins.core.context import governed
from mesh_plugins.core.course import Course
from mesh_plugins.core.denials import Denials
from mesh_plugins.core.fact_of import denied_fact
from mesh_plugins.core.hooks import Hooks
from mesh_plugins.core.planned import Planner
from mesh_plugins.core.ports import (
    AsyncLimiterPort,
    ConfigPort,
    LimiterPort,
    RecorderPort,
    SamplePort,
    Sender,
)
from mesh_plugins.core.reserve import SLOTS_FLUSH_S, Asking, granted, intent_of
from mesh_plugins.core.retries import Health, RetryBudget, unusable
from mesh_plugins.core.secrets import Secrets
from mesh_plugins.core.streams import AsyncGovernedStream, GovernedStream
from mesh_store.model.errors import ConfigError, Denied, MeshError, ProviderError
from mesh_store.model.facts import Done


@dataclass(slots=True)
class Governed:
    """An answer and what it took.

    Attributes:
        body: the reply in the host's own type.
        receipt: usage, cost, target and attempts.
    """

    body: Any
    receipt: Receipt


@dataclass(slots=True)
class Engine:
    """What the drivers need besides the request; one per `Mesh`."""

    hooks: Hooks
    config: ConfigPort
    recorder: RecorderPort
    health: Health
    budget: RetryBudget
    denials: Denials
    secrets: Secrets
    samples: SamplePort | None = None
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        self.planner = Planner(self.hooks, self.health.cooling)

    def plan(self, request: CallRequest) -> Plan:
        """Plan a call against the newest snapshot; a refusal is written down before it is raised."""
        snapshot = self.config.snapshot()
        try:
            return self.planner.plan(request, snapshot)
        except Denied as error:
            self.refused(request, snapshot.revision, error)
            raise

    def asking(self, plan: Plan) -> Asking:
        """Return the question to the limiter, unless the answer is known.

        Raises:
            QuotaExceeded: the same was refused a moment ago, and still would be.
        """
        standing = self.denials.standing(plan)
        if standing is not None:
            raise standing
        return Asking(self.recorder, self.denials, plan, self.refused)

    def refused(
        self,
        request: CallRequest,
        revision: int,
        error: MeshError,
        plan: Plan | None = None,
        asked: str | None = None,
    ) -> None:
        """Write the fact of a refused call, which ends what was asked."""
        fact = denied_fact(request, revision, error, plan)
        self.recorder.done(Done(self.hooks.fact.fold("fact", fact, receipt=None), closes=asked))

    def start(self, reservation: Reservation) -> Course:
        """Start the course of a granted call and put its intent into the ring."""
        course = Course(
            reservation,
            hooks=self.hooks,
            recorder=self.recorder,
            health=self.health,
            budget=self.budget,
            samples=self.samples,
        )
        # The course is first: a signal's handler may raise in between, and it settles when it is dropped.
        self.recorder.intent(intent_of(reservation, self.hooks))
        return course


def admit(engine: Engine, limiter: LimiterPort, request: CallRequest) -> Course:
    """Plan a call, take all its charges and start its course, or raise what refused it."""
    plan = engine.plan(request)
    if not plan.charges:
        return engine.start(granted(plan, None))
    asking = engine.asking(plan)
    with asking:
        decision = limiter.reserve(**asking.arguments)
        if asking.own_slots_may_free(decision) and engine.recorder.flush_settlements(SLOTS_FLUSH_S):
            decision = limiter.reserve(**asking.arguments)
        while (pause := asking.again(decision)) is not None:
            time.sleep(pause)
            decision = limiter.reserve(**asking.arguments)
        if decision.wait_us:
            time.sleep(decision.wait_us / 1e6)
        course = engine.start(asking.answered(decision))
        asking.done = True
        return course


async def aadmit(engine: Engine, limiter: AsyncLimiterPort, request: CallRequest) -> Course:
    """Like `admit`, on the caller's event loop."""
    plan = engine.plan(request)
    if not plan.charges:
        return engine.start(granted(plan, None))
    asking = engine.asking(plan)
    with asking:
        decision = await limiter.reserve(**asking.arguments)
        freed = asking.own_slots_may_free(decision)
        if freed and await asyncio.to_thread(engine.recorder.flush_settlements, SLOTS_FLUSH_S):
            decision = await limiter.reserve(**asking.arguments)
        while (pause := asking.again(decision)) is not None:
            await asyncio.sleep(pause)
            decision = await limiter.reserve(**asking.arguments)
        if decision.wait_us:
            await asyncio.sleep(decision.wait_us / 1e6)
        course = engine.start(asking.answered(decision))
        asking.done = True
        return course


def extend(engine: Engine, limiter: LimiterPort, course: Course, cause: Exception) -> None:
    """Reserve what the next attempt needs on top, or pass over its target; raise when none is left."""
    while (asking := course.extending()) is not None:
        with asking:
            if asking.granted(limiter.reserve(**asking.arguments)):
                course.extended()
                return
        _passed_over(course, cause)


async def aextend(engine: Engine, limiter: AsyncLimiterPort, course: Course, cause: Exception) -> None:
    """Like `extend`, on the caller's event loop."""
    while (asking := course.extending()) is not None:
        with asking:
            if asking.granted(await limiter.reserve(**asking.arguments)):
                course.extended()
                return
        _passed_over(course, cause)


def call(engine: Engine, limiter: LimiterPort, request: CallRequest, sender: Sender) -> Governed:
    """Make one governed call and wait for its whole answer."""
    course = admit(engine, limiter, request)
    with _settling(course), governed():
        while True:
            attempt = course.begin()
            try:
                with_secret = engine.secrets.read(attempt, course.reservation.plan.snapshot)
                reply = sender.send(course.sending(with_secret))
            except Exception as error:
                time.sleep(_pause(course, sender, attempt, error))
                extend(engine, limiter, course, error)
            else:
                return Governed(reply.body, course.succeeded(reply))


async def acall(engine: Engine, limiter: AsyncLimiterPort, request: CallRequest, sender: Sender) -> Governed:
    """Like `call`, on the caller's event loop."""
    course = await aadmit(engine, limiter, request)
    with _settling(course), governed():
        while True:
            attempt = course.begin()
            try:
                with_secret = await engine.secrets.aread(attempt, course.reservation.plan.snapshot)
                reply = await sender.asend(course.sending(with_secret))
            except Exception as error:
                await asyncio.sleep(_pause(course, sender, attempt, error))
                await aextend(engine, limiter, course, error)
            else:
                return Governed(reply.body, course.succeeded(reply))


def stream(engine: Engine, limiter: LimiterPort, request: CallRequest, sender: Sender) -> GovernedStream:
    """Start one governed stream; it may fall back only before its first chunk."""
    course = admit(engine, limiter, request)
    with _settling(course), governed():
        while True:
            attempt = course.begin()
            try:
                with_secret = engine.secrets.read(attempt, course.reservation.plan.snapshot)
                chunks = sender.stream(course.sending(with_secret))
            except Exception as error:
                time.sleep(_pause(course, sender, attempt, error))
                extend(engine, limiter, course, error)
            else:
                return GovernedStream(course, chunks, sender, attempt)


async def astream(
    engine: Engine, limiter: AsyncLimiterPort, request: CallRequest, sender: Sender
) -> AsyncGovernedStream:
    """Like `stream`, on the caller's event loop."""
    course = await aadmit(engine, limiter, request)
    with _settling(course), governed():
        while True:
            attempt = course.begin()
            try:
                with_secret = await engine.secrets.aread(attempt, course.reservation.plan.snapshot)
                chunks = await sender.astream(course.sending(with_secret))
            except Exception as error:
                await asyncio.sleep(_pause(course, sender, attempt, error))
                await aextend(engine, limiter, course, error)
            else:
                return AsyncGovernedStream(course, chunks, sender, attempt)


def meter(engine: Engine, limiter: LimiterPort, request: CallRequest) -> Course:
    """Admit a call that somebody else sends; whoever asked must end the course."""
    course = admit(engine, limiter, request)
    with _settling(course):
        course.sending(course.begin())
    return course


async def ameter(engine: Engine, limiter: AsyncLimiterPort, request: CallRequest) -> Course:
    """Like `meter`, on the caller's event loop."""
    course = await aadmit(engine, limiter, request)
    with _settling(course):
        course.sending(course.begin())
    return course


class _settling:  # noqa: N801 - reads as the word it is in a with statement
    """Whatever leaves the block, the reservation is settled: cancelled, interrupted, or our own bug."""

    __slots__ = ("_course",)

    def __init__(self, course: Course) -> None:
        self._course = course

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._course.ended("error" if isinstance(error, Exception) else "cancelled", None)


def _pause(course: Course, sender: Sender, attempt: ProviderCall, error: Exception) -> float:
    """Return the seconds to wait before the next attempt, or raise when the call is over."""
    failure = error if isinstance(error, ProviderError) else sender.failure(attempt, error)
    if failure is None and isinstance(error, ConfigError) and not course.sent:
        failure = unusable(attempt, error)
    if failure is None:
        raise error
    step = course.failed(failure)
    if step is None:
        raise_failure(failure, error)
    return step.delay_s


def _passed_over(course: Course, cause: Exception) -> None:
    """Go on to the target after one that had no room; or raise how the last attempt ended."""
    failure = course.passed_over()
    if failure is not None:
        raise_failure(failure, cause)


def raise_failure(failure: ProviderError, cause: BaseException) -> NoReturn:
    """Raise a provider's failure as the host knows it, with the original behind it."""
    surfaced = failure.native or failure
    if surfaced is cause:
        raise surfaced
    raise surfaced from cause
