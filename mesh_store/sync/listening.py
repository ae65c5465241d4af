"""Hearing of commits through Postgres' NOTIFY, so that a publisher need not wait for its poll."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from mesh_store.sync.publisher import Listen

log = logging.getLogger(__name__)

#: What every commit of a change notifies.
CHANNEL = "mesh_revision"
#: Seconds between attempts to listen again; the publisher polls meanwhile.
RECONNECT_S = 5.0
#: Seconds one connection may take to make.
CONNECT_DEADLINE = 5.0


def listen_to(dsn: str) -> Listen:
    """Return what `watch_and_publish` needs to hear of commits.

    Hearing is only a hint. Behind a pooler in transaction mode nothing is ever heard: leave it away.

    Args:
        dsn: the database as asyncpg takes it (``postgresql://…``).
    """

    @contextlib.asynccontextmanager
    async def listen(heard: Callable[[], None]) -> AsyncIterator[None]:
        listening = asyncio.create_task(_listen(dsn, heard))
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait((listening,))

    return listen


async def _listen(dsn: str, heard: Callable[[], None]) -> None:
    import asyncpg

    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_DEADLINE)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            log.warning("commits are found by the poll alone: %s", error)
        else:
            await _until_lost(connection, heard)
        await asyncio.sleep(RECONNECT_S)


async def _until_lost(connection: Any, heard: Callable[[], None]) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(CHANNEL, lambda *_: heard())
        heard()  # something may have been committed before we listened
        await lost.wait()
    finally:
        connection.terminate()
