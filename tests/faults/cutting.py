"""A task that is cancelled at an await of one's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """Awaits a coroutine, and says so just before it waits, each time.

    Args:
        inner: the coroutine.
        waits: called before each wait, in the task that waits.
    """

    def __init__(self, inner: Coroutine[Any, Any, T], waits: Callable[[], None]) -> None:
        self._inner, self._waits = inner, waits

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        while True:
            try:
                future = self._inner.throw(error) if error else self._inner.send(None)
            except StopIteration as ended:
                answer: T = ended.value
                return answer
            self._waits()
            try:
                error = None
                yield future
            except BaseException as raised:  # whatever the loop throws belongs to the coroutine
                error = raised


class Cut:
    """Cancels a task at the await of the given number, of those it is told of.

    Attributes:
        awaits: how many there were.
        task: whom to cancel.
    """

    def __init__(self, at: int) -> None:
        self.awaits = 0
        self.task: asyncio.Task[None] | None = None
        self._at = at

    def __call__(self) -> None:
        self.awaits += 1
        if self.awaits == self._at:
            assert self.task is not None
            self.task.cancel()

    async def run(self, inner: Coroutine[Any, Any, None]) -> bool:
        """Run in a task, to its end or until it is cancelled; tell whether there was such an await."""
        self.task = asyncio.create_task(inner)
        with suppress(asyncio.CancelledError):
            await self.task
        return self.awaits >= self._at


async def cut_at(inner: Coroutine[Any, Any, None], at: int) -> bool:
    """Cancel a coroutine at its own await of this number; tell whether there was such an await."""
    cut = Cut(at)

    async def through() -> None:
        await Watched(inner, cut)

    return await cut.run(through())
