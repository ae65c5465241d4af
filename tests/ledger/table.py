"""The table of endings, and what an ending is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from mesh_plugins.testing.provider import StandInProvider

#: More than any team's tokens will ever cover.
TOO_LONG = "far too long " * 1_000_000


class Doors(Protocol):
    """One host's way in, in both colours; ``text`` is what is asked, ``deadline_s`` the total deadline."""

    def call(self, text: str = "one two", deadline_s: float | None = None) -> Any: ...

    def acall(self, text: str = "one two", deadline_s: float | None = None) -> Coroutine[Any, Any, Any]: ...

    def stream(self, text: str = "one two", deadline_s: float | None = None) -> Iterator[Any]: ...

    def astream(
        self, text: str = "one two", deadline_s: float | None = None
    ) -> Coroutine[Any, Any, AsyncIterator[Any]]: ...


Play = Callable[[Any, StandInProvider], Any]


@dataclass(frozen=True)
class Ending:
    """How a call may end.

    Attributes:
        play: plays it, through doors, before a provider; either colour.
        outcomes: of the facts it leaves, sorted.
        aborted: how many answers the provider could not say to their end, because nobody listened.
        told: whether the provider says what a complete answer took.
    """

    play: Play
    outcomes: list[str]
    aborted: int
    told: bool


ENDINGS: dict[str, Ending] = {}


def ending(*outcomes: str, aborted: int = 0, told: bool = True) -> Callable[[Play], Play]:
    """Enter an ending into the table, under its function's name."""

    def add(play: Play) -> Play:
        ENDINGS[play.__name__] = Ending(play, sorted(outcomes), aborted, told)
        return play

    return add


def endless(provider: StandInProvider) -> None:
    """Let streams say something, and then nothing for a minute."""
    provider.script(stall_after=4)


async def asked(provider: StandInProvider) -> None:
    """Wait until a request arrived."""
    assert await asyncio.to_thread(provider.wait_for, lambda p: p.count >= 1)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
