"""One asyncio client per event loop, closed with its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

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
        self._lives: WeakKeyDictionary[asyncio.AbstractEventLoop, _Life] = WeakKeyDictionary()

    async def client(self) -> Redis:
        """Return the running loop's client."""
        loop = asyncio.get_running_loop()
        life = self._lives.get(loop)
        if life is None:
            generator = _life(self._url, self._deadline)
            life = _Life(await anext(generator), generator)
            life = self._lives.setdefault(loop, life)
        return life.client


async def _life(url: str, deadline: float) -> AsyncGenerator[Redis, None]:
    # A loop that ends closes its asynchronous generators (`loop.shutdown_asyncgens`, which
    # asyncio.run calls): the only notice a library gets while it can still await.
    client = connect_async(url, deadline=deadline)
    try:
        yield client
    finally:
        await client.aclose()
