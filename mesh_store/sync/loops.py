"""One asyncio client per event loop, closed with its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, NamedTuple

from mesh_store.redis.client import connect_async

if TYPE_CHECKING:
    from redis.asyncio import Redis


class _Life(NamedTuple):
    client: Redis
    generator: AsyncGenerator[Redis, None]


class ClientPerLoop:
    """Gives each event loop its own client, so that repeated ``asyncio.run`` just works.

    Args:
        url: the server.
        deadline: seconds one reply may take.
    """

    def __init__(self, url: str, *, deadline: float) -> None:
        self._url = url
        self._deadline = deadline
        self._lives: dict[asyncio.AbstractEventLoop, _Life] = {}

    async def client(self) -> Redis:
        """Return the running loop's client."""
        loop = asyncio.get_running_loop()
        life = self._lives.get(loop)
        if life is None:
            for ended in [other for other in list(self._lives) if other.is_closed()]:
                self._lives.pop(ended, None)  # it ended without a word
            generator = self._life(loop)
            life = self._lives[loop] = _Life(await anext(generator), generator)
        return life.client

    async def _life(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Redis, None]:
        # A loop that ends closes its asynchronous generators (`loop.shutdown_asyncgens`, which
        # asyncio.run calls): the only notice a library gets while it can still await.
        client = connect_async(self._url, deadline=self._deadline)
        try:
            yield client
        finally:
            self._lives.pop(loop, None)  # not by weak reference: the generator itself keeps its loop
            await client.aclose()
