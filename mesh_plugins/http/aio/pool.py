"""Connections of one event loop, by origin: idle ones are used again, the youngest first."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from typing import NamedTuple, TypeVar

from mesh_plugins.http.aio.connection import Connection
from mesh_plugins.http.tls import tls_context
from mesh_plugins.http.transport import IDLE_CONNECTION_S, TransportFailure, TransportOptions

#: How long a name's second address waits for its first (RFC 8305).
_SECOND_ADDRESS_S = 0.25

_T = TypeVar("_T")


class Origin(NamedTuple):
    """Where a connection leads."""

    secure: bool
    host: str
    port: int


class Pool:
    """Connections of one event loop."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._busy: set[Connection] = set()
        self._slots = asyncio.Semaphore(options.max_connections)
        self._keeper: AsyncGenerator[None, None] | None = None

    async def take(self, origin: Origin, timeout_s: float) -> Connection:
        """Return a connection nobody else uses.

        Raises:
            TransportFailure: none could be opened; nothing was sent.
        """
        if self._keeper is None:
            self._keeper = self._keep()
            await anext(self._keeper)
        if self._slots.locked():
            await self._within(self._slots.acquire(), timeout_s, "every connection is in use")
        else:
            await self._slots.acquire()
        try:
            connection = self._youngest(origin) or await self._open(origin, timeout_s)
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(connection)
        return connection

    def give(self, connection: Connection, origin: Origin) -> None:
        """Take a connection back; it is kept when it can be used again. May be called twice."""
        if connection not in self._busy:
            return
        self._busy.discard(connection)
        self._slots.release()
        if connection.release():
            self._idle.setdefault(origin, deque()).append(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in [*self._busy, *(one for idle in self._idle.values() for one in idle)]:
            connection.abort()
        self._idle.clear()

    async def aclose(self) -> None:
        """Close every connection, and wait until the loop has let go of them."""
        if self._keeper is not None:
            await self._keeper.aclose()
        self.close()
        await asyncio.sleep(0)

    def _youngest(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        too_old = self._loop.time() - IDLE_CONNECTION_S
        while idle:
            connection = idle.pop()
            if not connection.usable():
                connection.abort()
                continue
            if connection.idle_since < too_old:
                # The others have waited for longer still.
                for old in (connection, *idle):
                    old.abort()
                idle.clear()
                return None
            return connection
        return None

    async def _open(self, origin: Origin, timeout_s: float) -> Connection:
        context = tls_context(self._options) if origin.secure else None
        opening = self._loop.create_connection(
            lambda: Connection(self._loop),
            origin.host,
            origin.port,
            ssl=context,
            server_hostname=origin.host if context else None,
            happy_eyeballs_delay=_SECOND_ADDRESS_S,
        )
        try:
            made = await self._within(opening, timeout_s, "no connection in time")
        except ssl.SSLCertVerificationError as error:
            raise TransportFailure(
                "connect", f"its certificate is not trusted: {error.verify_message}"
            ) from None
        except OSError as error:
            raise TransportFailure("connect", error.strerror or str(error)) from None
        return made[1]

    async def _within(self, waiting: Awaitable[_T], timeout_s: float, message: str) -> _T:
        try:
            async with asyncio.timeout(min(timeout_s, self._options.connect_s)):
                return await waiting
        except TimeoutError:
            raise TransportFailure("connect", message) from None

    async def _keep(self) -> AsyncGenerator[None, None]:
        """Close with the loop: started on it, this is closed by ``shutdown_asyncgens``."""
        try:
            yield
        finally:
            self.close()
