"""Streams that settle however they end.

A stream ends when it is read to its end, fails, is closed, or is given up: ``break``, a dropped
reference, an exception in the consumer, a cancelled task, or never being read at all. The first of
these settles; a finalizer covers the references that just go away.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from mesh_plugins.core.call import ProviderCall, ProviderReply, Receipt
from mesh_plugins.core.course import Course
from mesh_plugins.core.ports import AsyncProviderStream, ProviderStream, Sender
from mesh_store.model.errors import ProviderError
from mesh_store.model.facts import FactOutcome


class _Ending:
    """What both colours share: which way a stream ended, and what is raised then."""

    __slots__ = ("attempt", "course", "sender")

    def __init__(self, course: Course, sender: Sender, attempt: ProviderCall) -> None:
        self.course, self.sender, self.attempt = course, sender, attempt

    def failed(self, reply: ProviderReply, error: BaseException) -> BaseException:
        """Settle a stream that raised in the middle; return what its reader shall see."""
        if not isinstance(error, Exception) or isinstance(error, asyncio.CancelledError):
            self.course.ended("cancelled", reply)
            return error
        failure = error if isinstance(error, ProviderError) else self.sender.failure(self.attempt, error)
        kind = failure.kind if failure else None
        outcome: FactOutcome = (
            "incomplete" if kind == "incomplete" else "timeout" if kind == "timeout" else "error"
        )
        self.course.ended(outcome, reply, failure)
        return (failure.native or failure) if failure else error


def _abandoned(course: Course, reply: ProviderReply) -> None:
    course.ended("abandoned", reply)


class GovernedStream:
    """Chunks of one governed call, in the host's own type; a context manager.

    Attributes:
        receipt: what the call took, once the stream ended; else None.
    """

    def __init__(self, course: Course, chunks: ProviderStream, sender: Sender, attempt: ProviderCall) -> None:
        self._chunks, self._course = chunks, course
        self._ending = _Ending(course, sender, attempt)
        self._finalizer = weakref.finalize(self, _abandoned, course, chunks.reply)
        self._finalizer.atexit = True

    @property
    def receipt(self) -> Receipt | None:
        """What the call took, once the stream ended."""
        return self._course.receipt

    @property
    def native(self) -> ProviderStream:
        """The sender's own stream."""
        return self._chunks

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._course.succeeded(self._chunks.reply)
            self._finalizer.detach()
            raise
        except BaseException as error:
            self.close_after(error)
        self._course.chunk(chunk)
        cut = self._course.exhausted(self._chunks.reply)
        if cut is not None:
            self._finalizer.detach()
            self._chunks.close()
            raise cut
        return chunk

    def close_after(self, error: BaseException) -> None:
        """Settle a stream whose reading raised ``error``, close it, and raise what its reader shall see."""
        surfaced = self._ending.failed(self._chunks.reply, error)
        self._finalizer.detach()
        self._chunks.close()
        if surfaced is error:
            raise error
        raise surfaced from error

    def close(self) -> None:
        """Stop reading: closes the connection and settles at what was received; may be called twice."""
        self._course.ended("abandoned", self._chunks.reply)
        self._finalizer.detach()
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncGovernedStream:
    """Like `GovernedStream`, on the caller's event loop."""

    def __init__(
        self, course: Course, chunks: AsyncProviderStream, sender: Sender, attempt: ProviderCall
    ) -> None:
        self._chunks, self._course = chunks, course
        self._ending = _Ending(course, sender, attempt)
        self._finalizer = weakref.finalize(self, _abandoned, course, chunks.reply)
        self._finalizer.atexit = True

    @property
    def receipt(self) -> Receipt | None:
        """What the call took, once the stream ended."""
        return self._course.receipt

    @property
    def native(self) -> AsyncProviderStream:
        """The sender's own stream."""
        return self._chunks

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._course.succeeded(self._chunks.reply)
            self._finalizer.detach()
            raise
        except BaseException as error:
            await self.aclose_after(error)
        self._course.chunk(chunk)
        cut = self._course.exhausted(self._chunks.reply)
        if cut is not None:
            self._finalizer.detach()
            await self._chunks.aclose()
            raise cut
        return chunk

    async def aclose_after(self, error: BaseException) -> None:
        """Settle a stream whose reading raised ``error``, close it, and raise what its reader shall see."""
        surfaced = self._ending.failed(self._chunks.reply, error)
        self._finalizer.detach()
        await self._chunks.aclose()
        if surfaced is error:
            raise error
        raise surfaced from error

    async def aclose(self) -> None:
        """Stop reading: closes the connection and settles at what was received; may be called twice."""
        self._course.ended("abandoned", self._chunks.reply)
        self._finalizer.detach()
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
