"""The transport for event loops: aiohttp, which closes a connection as soon as nobody wants its answer.

A session belongs to its event loop and is closed with it (see `loops`). aiohttp repeats requests on
dropped connections for idempotent methods only, and everything sent here is a POST. What is to be
answered as a whole goes past the session (see `posting`); streams, and calls through a proxy, through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Mapping
from socket import SHUT_RDWR
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from mesh_plugins.http.aiohttp_failures import fail
from mesh_plugins.http.connector import Connector
from mesh_plugins.http.loops import PerLoop, inherited
from mesh_plugins.http.posting import Posting, fits
from mesh_plugins.http.tls import tls_context
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    HttpRequest,
    HttpResponse,
    TransportFailure,
    TransportOptions,
    bounded,
    most_of,
)

_MOST_KEPT = 1_024
#: Timeouts are exact: aiohttp would round those above 5 s up to a whole second of its loop.
_EXACT = float("inf")


#: Whether the aiohttp of this process can be used past its session.
_FITS = fits()


class _Client(NamedTuple):
    """A session, and what goes past it."""

    session: aiohttp.ClientSession
    posting: Posting | None


class AiohttpTransport:
    """Sends over aiohttp."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._clients = PerLoop(self._client, _closed, _detached)
        self._proxies: dict[str, str | None] = {}

    async def asend(self, request: HttpRequest) -> HttpResponse:
        client = await self._clients.client()
        if client.posting is not None and _plain(request) and self._proxy(request.url) is None:
            return await client.posting.post(request, self._secured(request.url))
        response = await self._answer(request)
        try:
            most, size, pieces = most_of(response.status), 0, []
            while size <= most and (piece := await response.content.readany()):
                pieces.append(piece)
                size += len(piece)
            body = bounded(response.status, b"".join(pieces))
            return HttpResponse(response.status, response.headers, body)
        except Exception as error:
            fail(error, answered=True)
        finally:
            response.close()

    async def astream(self, request: HttpRequest) -> AiohttpStream:
        return AiohttpStream(await self._answer(request))

    def reaches(self, url: str) -> bool:
        """Tell whether its proxy, if it has one, is of a kind that aiohttp speaks to."""
        try:
            self._proxy(url)
        except TransportFailure:
            return False
        return True

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _answer(self, request: HttpRequest) -> aiohttp.ClientResponse:
        session = (await self._clients.client()).session
        try:
            return await session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                proxy=self._proxy(request.url),
                ssl=self._secured(request.url),
                timeout=_timeout(self._options, request),
            )
        except Exception as error:
            fail(error)

    def _client(self) -> _Client:
        session = aiohttp.ClientSession(
            connector=Connector(
                limit=self._options.max_connections,
                keepalive_timeout=IDLE_CONNECTION_S,
                resolver=aiohttp.ThreadedResolver(),  # the system's, even where aiodns is installed
            ),
            # One session serves many teams: what a provider sets for one call must not reach the next.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # it would also take credentials from ~/.netrc
        )
        _sessions.add(session)
        return _Client(session, Posting(session, self._options.connect_s) if _FITS else None)

    def _secured(self, url: str) -> ssl.SSLContext | bool:
        return tls_context(self._options) if url.startswith("https:") else True

    def _proxy(self, url: str) -> str | None:
        options = self._options
        if options.proxy is not None or not options.use_environment:
            return _spoken_to(options.proxy)
        if url not in self._proxies:
            if len(self._proxies) >= _MOST_KEPT:
                self._proxies.clear()
            self._proxies[url] = _spoken_to(_environments_proxy(url))
        return self._proxies[url]


#: Sessions that are neither closed nor detached. Held here, because one that is collected would be logged
#: as an error, though its loop closes it in a moment, or never ends (a notebook's).
_sessions: set[aiohttp.ClientSession] = set()


async def _closed(client: _Client) -> None:
    _sessions.discard(client.session)
    await client.session.close()


def _detached(client: _Client) -> None:
    _sessions.discard(client.session)
    client.session.detach()


#: Answers that are being read. Held here, because one that is collected together with its reader would
#: be closed by the collector, in whatever thread, and logged as an error.
_open: set[aiohttp.ClientResponse] = set()


def _in_child() -> None:
    # Closing the parent's answers would take their sockets out of the poll its loop waits on.
    inherited.extend(_open)
    _open.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_in_child)


class AiohttpStream:
    """An answer, piece by piece."""

    __slots__ = ("_loop", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        _open.add(response)

    async def read(self) -> bytes:
        content = self._response.content
        connection = self._response.connection
        if connection is not None and (protocol := connection.protocol) is not None:
            # On a loop that stood still, its reader's silence is not the provider's.
            protocol.start_timeout()
        if (broken := content.exception()) is not None and (piece := _arrived(content, broken)):
            return piece
        try:
            return await content.readany()
        except Exception as error:
            _let_go(self._response)
            fail(error, answered=True)

    async def close(self) -> None:
        self.let_go()

    async def drain(self, seconds: float) -> None:
        """Read what is left, for so long at most: an answer read to its end leaves its connection usable."""
        with contextlib.suppress(TimeoutError, TransportFailure):
            async with asyncio.timeout(seconds):
                await self.read()

    def read_nowait(self) -> bytes | None:
        """Return what has arrived already, ``b""`` at the end; None when there is something to wait for."""
        content = self._response.content
        if content.exception() is not None:
            return None
        return content.read_nowait() or (b"" if content.at_eof() else None)

    def let_go(self) -> None:
        """Close, on its loop or where its loop stands still."""
        _let_go(self._response)

    def shut(self) -> None:
        """Tell the other side at once that nobody reads any more, from any thread; `let_go` must follow."""
        connection = self._response.connection
        transport = None if connection is None else connection.transport
        socket = None if transport is None else transport.get_extra_info("socket")
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.shutdown(SHUT_RDWR)

    def __del__(self) -> None:
        if self._response not in _open:
            return
        try:
            # The last reference may go away in any thread.
            self._loop.call_soon_threadsafe(_let_go, self._response)
        except RuntimeError:  # the loop is closed, and its connections with it
            _let_go(self._response)


def _arrived(content: aiohttp.StreamReader, broken: BaseException) -> bytes:
    """Return what came before an answer broke off: aiohttp's reader would raise first, and lose it."""
    content.set_exception(None)  # type: ignore[arg-type]
    piece = content.read_nowait()
    content.set_exception(broken)
    return piece


def _let_go(response: aiohttp.ClientResponse) -> None:
    _open.discard(response)
    response.close()


def _plain(request: HttpRequest) -> bool:
    """Tell whether a request is waited for as a whole, at an address without credentials of its own."""
    return request.idle_s is None and "@" not in request.url


def _timeout(options: TransportOptions, request: HttpRequest) -> aiohttp.ClientTimeout:
    total = max(0.001, request.timeout_s)  # aiohttp takes 0 for none
    return aiohttp.ClientTimeout(
        total=total,
        connect=min(options.connect_s, total),
        sock_read=None if request.idle_s is None else max(0.001, request.idle_s),
        ceil_threshold=_EXACT,
    )


def _environments_proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _spoken_to(proxy: str | None) -> str | None:
    """Return the URL of a proxy; aiohttp would take one of another scheme for an HTTP proxy."""
    if not proxy:
        return None
    scheme, found, _ = proxy.partition("://")
    if not found:
        return f"http://{proxy}"
    if scheme.lower() not in ("http", "https"):
        raise TransportFailure("connect", f"event loops call through HTTP proxies only, not {scheme}://")
    return proxy
