"""aiohttp's pool of connections, handing out only those on which nothing happened since their last answer."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class Connector(aiohttp.TCPConnector):
    """Keeps connections, and looks at each before it is used again."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """Return a connection a request may go out on."""
        # A POST on a connection that was closed is lost, and nobody may repeat it.
        while True:
            connection = await super().connect(req, traces, timeout)
            try:
                if not _quiet(connection):
                    # A loop that was busy needs three turns to hear of it: to read what was said last, to
                    # read the end, to have read it.
                    for _ in range(3):
                        await asyncio.sleep(0)
                protocol = connection.protocol
                if protocol is not None and protocol.is_connected() and not protocol.should_close:
                    return connection
            except BaseException:
                connection.close()
                raise
            # It was closed, or holds an answer nobody asked for, which would be taken for the next one.
            connection.close()

    def __del__(self, *_: object) -> None:
        """Go quietly when the loop was closed, or the process forked: there is no loop to close on."""


def _quiet(connection: Connection) -> bool:
    """Tell whether the system holds nothing that came on a connection and was not read: no bytes, no end."""
    transport = connection.transport
    socket = None if transport is None else transport.get_extra_info("socket")
    if socket is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return not poll.poll(0)
