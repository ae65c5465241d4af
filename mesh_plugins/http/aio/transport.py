"""`AsyncioTransport`: the asynchronous verbs of a transport, over asyncio itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from mesh_plugins.http.aio.connection import Connection
from mesh_plugins.http.aio.framing import Head
from mesh_plugins.http.aio.pool import Origin, Pool
from mesh_plugins.http.transport import (
    AsyncByteStream,
    HttpRequest,
    HttpResponse,
    TransportFailure,
    TransportOptions,
    bounded,
)


class AsyncioTransport:
    """Sends from event loops; proxies are another transport's business."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}

    async def asend(self, request: HttpRequest) -> HttpResponse:
        place = _place(request.url)
        pool = self._pool()
        connection = await pool.take(place.origin, request.timeout_s)
        try:
            head = await _exchange(connection, place, request, whole=True)
            return HttpResponse(head.status, head.headers, bounded(head.status, connection.take()))
        finally:
            pool.give(connection, place.origin)

    async def astream(self, request: HttpRequest) -> AsyncByteStream:
        place = _place(request.url)
        pool = self._pool()
        connection = await pool.take(place.origin, request.timeout_s)
        try:
            head = await _exchange(connection, place, request, whole=False)
        except BaseException:
            pool.give(connection, place.origin)
            raise
        return _Stream(pool, connection, place.origin, head)

    async def aclose(self) -> None:
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for other in [other for other in self._pools if other.is_closed()]:
                self._pools.pop(other, None)
            pool = self._pools[loop] = Pool(self._options)
        return pool


class _Stream:
    """An answer, piece by piece."""

    __slots__ = ("_connection", "_loop", "_origin", "_pool", "headers", "status")

    def __init__(self, pool: Pool, connection: Connection, origin: Origin, head: Head) -> None:
        self._pool: Pool | None = pool
        self._connection, self._origin = connection, origin
        self._loop = asyncio.get_running_loop()
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers

    async def read(self) -> bytes:
        return await self._connection.read()

    async def close(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.give(self._connection, self._origin)

    def __del__(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None and not self._loop.is_closed():
            # The last reference may go away in any thread.
            self._loop.call_soon_threadsafe(pool.give, self._connection, self._origin)


class _Place(NamedTuple):
    """A URL, ready for use."""

    origin: Origin
    host: str
    target: str


@lru_cache(maxsize=1_024)
def _place(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TransportFailure("connect", f"its URL cannot be used: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise TransportFailure("connect", "its URL must be http(s)://host/…, without a user name")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure = parts.scheme == "https"
    origin = Origin(secure, parts.hostname, port or (443 if secure else 80))
    host = parts.netloc
    if not f"{host}{target}".isascii() or not f"{host}{target}".isprintable() or " " in target:
        raise TransportFailure("connect", "its URL has characters that must be percent-encoded")
    return _Place(origin, host, target)


async def _exchange(connection: Connection, place: _Place, request: HttpRequest, *, whole: bool) -> Head:
    raw = _written(place, request)
    head = await connection.exchange(raw, whole=whole, timeout_s=request.timeout_s, idle_s=request.idle_s)
    if head.headers.get("content-encoding", "identity").lower() != "identity":
        raise TransportFailure("protocol", "a content coding that was not asked for")
    return head


def _written(place: _Place, request: HttpRequest) -> bytes:
    lines = [f"{request.method} {place.target} HTTP/1.1", f"host: {place.host}", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append(f"content-length: {len(request.body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise TransportFailure("connect", "a header of the request has a line break in it")
    return head.encode("latin-1") + b"\r\n\r\n" + request.body
