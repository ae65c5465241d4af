"""The alternative transport: httpx, for users' proxies, mTLS, respx tests and forked children.

A synchronous client serves the process. An asynchronous one belongs to its event loop, because
httpx's connections do, and is closed with it (see `loops`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mesh_plugins.http.loops import PerLoop
from mesh_plugins.http.tls import tls_context
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    AsyncByteStream,
    ByteStream,
    HttpRequest,
    HttpResponse,
    TransportFailure,
    TransportOptions,
    bounded,
    most_of,
)
from mesh_store.model.forking import forkable_lock

if TYPE_CHECKING:
    import httpx

#: Inherited over a fork: neither used (their sockets are the parent's) nor ever closed.
_inherited: list[object] = []


class HttpxTransport:
    """Sends over httpx."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._sync: httpx.Client | None = None
        self._async: PerLoop[httpx.AsyncClient] = PerLoop(self._made, lambda c: c.aclose(), lambda c: None)
        self._lock = forkable_lock()
        self._pid = os.getpid()

    def send(self, request: HttpRequest) -> HttpResponse:
        stream = self.stream(request)
        try:
            body = bytearray()
            while (piece := stream.read()) and len(body) <= most_of(stream.status):
                body += piece
            return HttpResponse(stream.status, stream.headers, bounded(stream.status, bytes(body)))
        finally:
            stream.close()

    async def asend(self, request: HttpRequest) -> HttpResponse:
        stream = await self.astream(request)
        try:
            body = bytearray()
            while (piece := await stream.read()) and len(body) <= most_of(stream.status):
                body += piece
            return HttpResponse(stream.status, stream.headers, bounded(stream.status, bytes(body)))
        finally:
            await stream.close()

    def stream(self, request: HttpRequest) -> ByteStream:
        client = self._client()
        ends = time.monotonic() + request.timeout_s
        try:
            return _Stream(client.send(self._built(client, request), stream=True), ends)
        except Exception as error:
            fail(error)

    async def astream(self, request: HttpRequest) -> AsyncByteStream:
        client = await self._async.client()
        ends = asyncio.get_running_loop().time() + request.timeout_s
        try:
            async with asyncio.timeout_at(ends):
                return _AsyncStream(await client.send(self._built(client, request), stream=True), ends)
        except Exception as error:
            fail(error)

    def close(self) -> None:
        with self._lock:
            client, self._sync = self._sync, None
        if client is not None and self._pid == os.getpid():
            client.close()

    async def aclose(self) -> None:
        self.close()
        await self._async.aclose()

    def _client(self) -> httpx.Client:
        if self._pid != os.getpid():
            self._forget()
        if self._sync is not None:
            return self._sync
        import httpx

        with self._lock:
            if self._sync is None:
                self._sync = httpx.Client(**self._settings())
            return self._sync

    def _made(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(**self._settings())

    def _forget(self) -> None:
        _inherited.append(self._sync)
        self._sync = None
        self._lock = forkable_lock()
        self._pid = os.getpid()

    def _settings(self) -> dict[str, Any]:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import httpx

        options = self._options
        return {
            "follow_redirects": False,
            "trust_env": options.use_environment,
            "proxy": options.proxy,
            "verify": tls_context(options),
            "limits": httpx.Limits(
                max_connections=options.max_connections,
                max_keepalive_connections=options.max_connections,
                keepalive_expiry=IDLE_CONNECTION_S,
            ),
            # One client serves many teams: what a provider sets for one call must not reach the next.
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        }

    def _built(self, client: httpx.Client | httpx.AsyncClient, request: HttpRequest) -> httpx.Request:
        connect = min(self._options.connect_s, request.timeout_s)
        read = request.timeout_s if request.idle_s is None else min(request.idle_s, request.timeout_s)
        timeouts = {"connect": connect, "pool": connect, "write": request.timeout_s, "read": read}
        return client.build_request(
            "POST",
            request.url,
            headers=request.headers,
            content=request.body,
            extensions={"timeout": timeouts},
        )


class _Stream:
    """A synchronous answer, piece by piece."""

    def __init__(self, response: httpx.Response, ends: float) -> None:
        self._response = response
        self._ends = ends
        self._pieces: Iterator[bytes] = response.iter_bytes()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def read(self) -> bytes:
        if time.monotonic() > self._ends:
            raise TransportFailure("timeout", "the total deadline has passed")
        try:
            return next(self._pieces, b"")
        except Exception as error:
            fail(error, answered=True)

    def close(self) -> None:
        self._response.close()

    def __del__(self) -> None:
        self._response.close()  # a dropped stream must not keep its connection


class _AsyncStream:
    """An answer on an event loop, piece by piece."""

    def __init__(self, response: httpx.Response, ends: float) -> None:
        self._response = response
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._pieces: AsyncIterator[bytes] = response.aiter_bytes()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._ends):
                return await anext(self._pieces, b"")
        except Exception as error:
            fail(error, answered=True)

    async def close(self) -> None:
        await self._response.aclose()

    def __del__(self) -> None:
        if not self._response.is_closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_close_later, self._loop, self._response)


_closing: set[asyncio.Task[None]] = set()


def _close_later(loop: asyncio.AbstractEventLoop, response: httpx.Response) -> None:
    task = loop.create_task(response.aclose())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


def fail(error: Exception, *, answered: bool = False) -> NoReturn:
    """Raise what a transport may raise for one of httpx's exceptions, or the exception itself."""
    import httpx

    if isinstance(error, TimeoutError):
        raise TransportFailure("timeout", "the total deadline has passed") from None
    if not isinstance(error, httpx.TransportError | httpx.DecodingError | httpx.StreamError):
        raise error
    message = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError):
        raise TransportFailure("connect", message) from None
    if isinstance(error, httpx.TimeoutException):
        raise TransportFailure("timeout", message) from None
    raise TransportFailure("incomplete" if answered else "protocol", message) from None
