"""The transport for event loops: aiohttp, which closes a connection as soon as nobody wants its answer.

A session belongs to its event loop and is closed with it (see `loops`). aiohttp repeats requests on
dropped connections for idempotent methods only, and everything sent here is a POST.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from mesh_plugins.http.loops import PerLoop
from mesh_plugins.http.tls import tls_context
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    AsyncByteStream,
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


class AiohttpTransport:
    """Sends over aiohttp."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._sessions = PerLoop(self._session, aiohttp.ClientSession.close, aiohttp.ClientSession.detach)
        self._proxies: dict[str, str | None] = {}

    async def asend(self, request: HttpRequest) -> HttpResponse:
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

    async def astream(self, request: HttpRequest) -> AsyncByteStream:
        return _Stream(await self._answer(request))

    async def aclose(self) -> None:
        await self._sessions.aclose()

    async def _answer(self, request: HttpRequest) -> aiohttp.ClientResponse:
        session = await self._sessions.client()
        # A POST on a connection that is already closed is lost, and nobody may repeat it. Two turns of
        # the loop let a loop that was busy hear of the end of its connections: one reads, one acts.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            return await session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                proxy=self._proxy(request.url),
                ssl=tls_context(self._options) if request.url.startswith("https:") else True,
                timeout=_timeout(self._options, request),
            )
        except Exception as error:
            fail(error)

    def _session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=_Connector(
                limit=self._options.max_connections,
                keepalive_timeout=IDLE_CONNECTION_S,
                resolver=aiohttp.ThreadedResolver(),  # the system's, even where aiodns is installed
            ),
            # One session serves many teams: what a provider sets for one call must not reach the next.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # it would also take credentials from ~/.netrc
        )
        _sessions.add(session)
        return session

    def _proxy(self, url: str) -> str | None:
        options = self._options
        if options.proxy is not None or not options.use_environment:
            return options.proxy
        if url not in self._proxies:
            if len(self._proxies) >= _MOST_KEPT:
                self._proxies.clear()
            self._proxies[url] = _environments_proxy(url)
        return self._proxies[url]


class _Connector(aiohttp.TCPConnector):
    """Connections that go quietly when their loop was closed, or their process forked, under them."""

    def __del__(self, *_: object) -> None:
        """Leave the sockets to their own ends: there is no loop to close them on."""


_sessions: WeakSet[aiohttp.ClientSession] = WeakSet()


@atexit.register
def _take_leave() -> None:
    # Sessions of loops that never ended, as a notebook's: aiohttp would log each as an error.
    for session in tuple(_sessions):
        session.detach()


class _Stream:
    """An answer, piece by piece."""

    __slots__ = ("_loop", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except Exception as error:
            fail(error, answered=True)

    async def close(self) -> None:
        self._response.close()

    def __del__(self) -> None:
        if self._loop.is_closed():
            self._response.close()
        elif not self._response.closed:
            with contextlib.suppress(RuntimeError):  # the loop was closed in between
                # The last reference may go away in any thread.
                self._loop.call_soon_threadsafe(self._response.close)


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
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def fail(error: Exception, *, answered: bool = False) -> NoReturn:
    """Raise what a transport may raise for one of aiohttp's exceptions, or the exception itself."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        raise TransportFailure("connect", f"its proxy answered {error.status}") from None
    if isinstance(error, aiohttp.ClientConnectorError):
        raise TransportFailure("connect", str(error)) from None
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        raise TransportFailure("connect", "no connection in time") from None
    if isinstance(error, aiohttp.SocketTimeoutError):
        raise TransportFailure("timeout", "silent for too long") from None
    if isinstance(error, TimeoutError):
        raise TransportFailure("timeout", "the total deadline has passed") from None
    if isinstance(error, ValueError) and not answered:
        # Its URL, or a line break in a header; the message would show them.
        raise TransportFailure("connect", "its URL or a header cannot be sent") from None
    if isinstance(error, aiohttp.ClientError | HttpProcessingError | OSError):
        message = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
        raise TransportFailure(
            "incomplete" if answered else "protocol", message or type(error).__name__
        ) from None
    raise error
