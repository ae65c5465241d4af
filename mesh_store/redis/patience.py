"""A deadline for servers that a busy event loop does not use up.

While somebody's long computation holds the loop, a reply may lie in the socket unread; by the clock alone a
healthy server would be called away. So time counts in steps, and a turn of the loop is at most one of them
however long it took: on an idle loop the deadline is the clock's, on a busy one the server still gets as
many chances to be heard.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

#: More than the turns of the loop a new connection takes to be greeted and to answer.
STEPS = 12


class Unhurried:
    """Raises TimeoutError in its block once ``deadline`` seconds have passed for a loop that listened.

    None is no deadline.
    """

    __slots__ = ("_handle", "_left", "_loop", "_step", "_timeout")

    def __init__(self, deadline: float | None) -> None:
        self._timeout = asyncio.timeout(None)
        self._step, self._left = None if deadline is None else deadline / STEPS, STEPS
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._step is not None:
            self._handle = self._loop.call_later(self._step, self._tick, self._step)
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _tick(self, step: float) -> None:
        self._left -= 1
        if self._left:
            self._handle = self._loop.call_later(step, self._tick, step)
        else:
            # In the next turn: what this one has read comes first.
            self._timeout.reschedule(self._loop.time())
