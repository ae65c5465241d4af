"""Drivers perform the steps of a course over a client, one for threads, one for an event loop.

A reply that was lost is asked for once more under the same reservation id, on another connection
(the client drops the broken one): whatever the first attempt did, the second answers the same. No
exception of the client gets past a driver; a course is sent a `MeshError` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import redis
import redis.asyncio
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, ResponseError

from mesh_store.redis import wire
from mesh_store.redis.answers import reserved
from mesh_store.redis.asks import Ask
from mesh_store.redis.client import adrop_idle, drop_idle
from mesh_store.redis.failures import FAILURES, may_have_lost_a_reply, needs_another_server, translate
from mesh_store.redis.joining import AsyncJoiner, Joiner, Result
from mesh_store.redis.lines import AsyncLine, Line
from mesh_store.redis.steps import Course, Step
from mesh_store.redis.wire import Call

T = TypeVar("T")

#: Replies are msgpack whatever the client decodes for others.
_RAW: dict[str, Any] = {NEVER_DECODE: []}


def _tail(call: Call) -> tuple[bytes | str, ...]:
    return (str(len(call.keys)), *call.keys, *call.arguments)


class Driver:
    """Performs steps for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._line = Line.of(client)
        self.ask = Joiner(self._decide).ask

    def follow(self, course: Course) -> Any:
        """Run a course to its end and return its result."""
        try:
            steps = next(course)
            while True:
                steps = course.send(self._perform_all(steps))
        except StopIteration as end:
            return end.value
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._let_go()
            raise translate(error) from error

    def _perform_all(self, steps: Sequence[Step]) -> list[Any]:
        calls = [step for step in steps if isinstance(step, Call)]
        if 1 < len(calls) == len(steps) and self._is_ours:
            return self._perform_together(calls)
        return [self._perform(step) for step in steps]

    def _perform_together(self, calls: Sequence[Call]) -> list[Any]:
        """Perform calls in one round trip; when it is lost, in one more."""
        assert self._line is not None
        commands = [("EVALSHA", call.script.sha, *_tail(call)) for call in calls]
        try:
            replies = self._twice(partial(self._line.run_all, commands))
        except FAILURES as error:
            return [translate(error)] * len(calls)
        # What was refused is asked by itself, which knows what to do about it.
        return [
            self._perform(call) if isinstance(reply, ResponseError) else self._read(call, reply)
            for call, reply in zip(calls, replies, strict=True)
        ]

    def _perform(self, step: Step) -> Any:
        if not isinstance(step, Call):
            return self.ask(step.ask, step.now_us)
        try:
            reply = self._twice(partial(self._call, step))
        except FAILURES as error:
            return translate(error)
        return self._read(step, reply)

    def _read(self, call: Call, reply: object) -> Any:
        try:
            return reply if call.read is None else call.read(reply)
        except FAILURES as error:
            if isinstance(error, msgspec.DecodeError):
                self._let_go()
            return translate(error)

    def _decide(self, asks: Sequence[Ask], now_us: int) -> Sequence[Result]:
        try:
            return reserved(self._twice(partial(self._call, wire.reserve(asks, now_us))), asks)
        except FAILURES as error:
            if isinstance(error, msgspec.DecodeError):
                self._let_go()
            return [translate(error)] * len(asks)

    def _let_go(self) -> None:
        """Close the idle connections: one of them leads nowhere, or brought a reply that was not ours."""
        if self._line:
            self._line.let_go()
        drop_idle(self._client)

    def _twice(self, ask: Callable[[], T]) -> T:
        """Ask, and once more where the reply may have been lost."""
        try:
            return ask()
        except FAILURES as error:
            if needs_another_server(error):
                # A connection made anew leads to the primary, if there is a new one already.
                self._let_go()
            elif not may_have_lost_a_reply(error):
                raise
        return ask()

    def _call(self, call: Call) -> object:
        tail = _tail(call)
        try:
            return self._run("EVALSHA", call.script.sha, *tail)
        except NoScriptError:
            return self._run("EVAL", call.script.source, *tail)

    @property
    def _is_ours(self) -> bool:
        """False where somebody put an ``execute_command`` of their own into the client, to see commands."""
        return self._line is not None and "execute_command" not in vars(self._client)

    def _run(self, *command: bytes | str) -> object:
        if self._line is not None and self._is_ours:
            return self._line.run(*command)
        client: Any = self._client
        reply: object = client.execute_command(*command, **_RAW)
        return reply


class AsyncDriver:
    """Performs steps for one event loop."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._line = AsyncLine.of(client)
        self.ask = AsyncJoiner(self._decide).ask

    async def follow(self, course: Course) -> Any:
        """Run a course to its end and return its result."""
        try:
            steps = next(course)
            while True:
                if len(steps) == 1:
                    results = [await self._perform(steps[0])]
                else:
                    results = await asyncio.gather(*map(self._perform, steps))
                steps = course.send(results)
        except StopIteration as end:
            return end.value
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            await self._let_go()
            raise translate(error) from error

    async def _perform(self, step: Step) -> Any:
        if not isinstance(step, Call):
            return await self.ask(step.ask, step.now_us)
        try:
            reply = await self._call(step)
            return reply if step.read is None else step.read(reply)
        except FAILURES as error:
            if isinstance(error, msgspec.DecodeError):
                await self._let_go()
            return translate(error)

    async def _decide(self, asks: Sequence[Ask], now_us: int) -> Sequence[Result]:
        try:
            return reserved(await self._call(wire.reserve(asks, now_us)), asks)
        except FAILURES as error:
            if isinstance(error, msgspec.DecodeError):
                await self._let_go()
            return [translate(error)] * len(asks)

    async def _let_go(self) -> None:
        """Close the idle connections: one of them leads nowhere, or brought a reply that was not ours."""
        if self._line:
            await self._line.let_go()
        await adrop_idle(self._client)

    async def _call(self, call: Call) -> object:
        try:
            return await self._call_once(call)
        except FAILURES as error:
            if needs_another_server(error):
                # A connection made anew leads to the primary, if there is a new one already.
                await self._let_go()
            elif not may_have_lost_a_reply(error):
                raise
        return await self._call_once(call)

    async def _call_once(self, call: Call) -> object:
        tail = _tail(call)
        try:
            return await self._run("EVALSHA", call.script.sha, *tail)
        except NoScriptError:
            return await self._run("EVAL", call.script.source, *tail)

    def _run(self, *command: bytes | str) -> Awaitable[object]:
        client = self._client
        if self._line and "execute_command" not in vars(client):
            return self._line.run(*command)
        run: Callable[..., Awaitable[object]] = client.execute_command
        return run(*command, **_RAW)
