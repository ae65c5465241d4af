"""One client per event loop, closed with its loop; what both asynchronous transports keep theirs in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

_Client = TypeVar("_Client")
_Kept = dict[asyncio.AbstractEventLoop, tuple[_Client, AsyncGenerator[None, None]]]

#: Clients inherited over a fork: neither used (their sockets are the parent's) nor ever closed.
inherited: list[object] = []


class PerLoop(Generic[_Client]):
    """Gives each event loop its own client, so that repeated ``asyncio.run`` just works.

    Args:
        make: makes a client of the running loop.
        close: closes one on its own loop.
        forget: takes leave of one whose loop ended without a word.
    """

    def __init__(
        self,
        make: Callable[[], _Client],
        close: Callable[[_Client], Awaitable[None]],
        forget: Callable[[_Client], None],
    ) -> None:
        self._make, self._close, self._forget = make, close, forget
        self._kept: _Kept[_Client] = {}
        self._pid = os.getpid()

    async def client(self) -> _Client:
        """Return the running loop's client."""
        if self._pid != os.getpid():
            inherited.append(self._kept)
            self._kept, self._pid = {}, os.getpid()
        loop = asyncio.get_running_loop()
        if (kept := self._kept.get(loop)) is not None:
            return kept[0]
        for ended in [other for other in list(self._kept) if other.is_closed()]:
            if (left := self._kept.pop(ended, None)) is not None:
                self._forget(left[0])
        client = self._make()
        keeper = self._keep(loop, client)
        self._kept[loop] = client, keeper
        await anext(keeper)
        return client

    async def aclose(self) -> None:
        """Close the running loop's client."""
        kept = self._kept.pop(asyncio.get_running_loop(), None)
        if kept is not None and self._pid == os.getpid():
            await kept[1].aclose()

    async def _keep(self, loop: asyncio.AbstractEventLoop, client: _Client) -> AsyncGenerator[None, None]:
        pid = os.getpid()
        # A loop that ends closes its asynchronous generators (`loop.shutdown_asyncgens`, which
        # asyncio.run calls): the only notice a library gets while it can still await.
        try:
            yield
        finally:
            if pid == os.getpid():
                self._kept.pop(loop, None)
                await self._close(client)
            else:
                # Closing here would take the sockets out of the poll that the parent's loop waits on.
                inherited.append(client)
