"""COPY that ends when its connection does, and says so once.

asyncpg's own waits for ever once its buffer is full.

A full buffer is written on when the transport says so, and a transport that lost its connection says nothing
any more (``Protocol.copy_in`` waits for ``writing_allowed``, which `connection_lost` does not set). And where
the server's last word comes between two rows, ``copy_in`` raises and forgets the future that holds it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

log = logging.getLogger(__name__)

#: Seconds a COPY may take; a server that takes nothing for so long is gone.
COPY_S = 65.0


async def copy(
    connection: asyncpg.Connection, table: str, records: Iterable[Any], columns: Sequence[str]
) -> None:
    """Copy rows into a table.

    Raises:
        asyncpg.PostgresConnectionError: the connection was lost meanwhile.
        TimeoutError: it took longer than `COPY_S`.
    """
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[None] = loop.create_future()

    def over(_: Any) -> None:
        if not lost.done():
            lost.set_result(None)

    copying = loop.create_task(connection.copy_records_to_table(table, records=records, columns=columns))
    connection.add_termination_listener(over)
    try:
        await asyncio.wait({copying, lost}, timeout=COPY_S, return_when=asyncio.FIRST_COMPLETED)
        if copying.done() or not lost.done():
            await _outcome(copying)
        else:
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost while rows were copied")
    finally:
        connection.remove_termination_listener(over)
        if not copying.done():
            copying.cancel()
        with suppress(asyncio.CancelledError, Exception):  # told above, or of no interest any more
            await copying


def hear_last_words(loop: asyncio.AbstractEventLoop) -> None:
    """Retrieve what asyncpg forgets of a lost connection: whoever used it has raised already."""
    before = loop.get_exception_handler()
    if isinstance(before, _LastWords):
        return
    loop.set_exception_handler(_LastWords(before))


class _LastWords:
    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, future = context.get("exception"), context.get("future")
        forgotten = isinstance(future, asyncio.Future) and not isinstance(future, asyncio.Task)
        if forgotten and isinstance(error, asyncpg.ConnectionDoesNotExistError):
            log.debug("a lost connection's last words: %s", error)
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)


async def _outcome(copying: asyncio.Task[Any]) -> None:
    if not copying.done():
        raise TimeoutError(f"rows could not be copied within {COPY_S:.0f} s")
    await copying
