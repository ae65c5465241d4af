"""The transport for event loops: aiohttp, which closes a connection as soon as nobody wants its answer.

A session belongs to its event loop and is closed with it (see `loops`). aiohttp repeats requests on
dropped connections for idempotent methods only, and everything sent here is a POST.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from mesh_plugins.http.loops import PerLoop, inherited
from mesh_plugins.http.tls import tls_context
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    AsyncByteStream,
    FailureKind,
    HttpRequest,
    HttpResponse,
    TransportFailure,
    TransportOptions,
    bounded,
    most_of,
)

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_MOST_KEPT = 1_024
#: Timeouts are exact: aiohttp would round those above 5 s up to a whole second of its loop.
_EXACT = float("inf")


class AiohttpTransport:
    """Sends over aiohttp."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._sessions = PerLoop(self._session, _closed, _detached)
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
        secured = tls_context(self._options) if request.url.startswith("https:") else True
        try:
            return await session.post(
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                proxy=self._proxy(request.url),
                ssl=secured,
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
            return _spoken_to(options.proxy)
        if url not in self._proxies:
            if len(self._proxies) >= _MOST_KEPT:
                self._proxies.clear()
            self._proxies[url] = _spoken_to(_environments_proxy(url))
        return self._proxies[url]


class _Connector(aiohttp.TCPConnector):
    """Hands out connections on which nothing happened since their last answer."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        # A POST on a connection that was closed is lost, and nobody may repeat it. A loop that was busy
        # needs three turns to hear of it: to read what was said last, to read the end, to have read it.
        for _ in range(3):
            await asyncio.sleep(0)
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            # An answer nobody asked for: aiohttp would take it for the answer to this request.
            connection.close()

    def __del__(self, *_: object) -> None:
        """Go quietly when the loop was closed, or the process forked: there is no loop to close on."""


#: Sessions that are neither closed nor detached. Held here, because one that is collected would be logged
#: as an error, though its loop closes it in a moment, or never ends (a notebook's).
_sessions: set[aiohttp.ClientSession] = set()


async def _closed(session: aiohttp.ClientSession) -> None:
    _sessions.discard(session)
    await session.close()


def _detached(session: aiohttp.ClientSession) -> None:
    _sessions.discard(session)
    session.detach()


#: Answers that are being read. Held here, because one that is collected together with its reader would
#: be closed by the collector, in whatever thread, and logged as an error.
_open: set[aiohttp.ClientResponse] = set()


def _in_child() -> None:
    # Closing the parent's answers would take their sockets out of the poll its loop waits on.
    inherited.extend(_open)
    _open.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - everywhere but Windows
    os.register_at_fork(after_in_child=_in_child)


class _Stream:
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
        if (broken := content.exception()) is not None and (piece := _arrived(content, broken)):
            return piece
        try:
            return await content.readany()
        except Exception as error:
            _let_go(self._response)
            fail(error, answered=True)

    async def close(self) -> None:
        _let_go(self._response)

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


def fail(error: Exception, *, answered: bool = False) -> NoReturn:
    """Raise what a transport may raise for one of aiohttp's exceptions, or the exception itself."""
    if isinstance(error, aiohttp.ClientError | HttpProcessingError | OSError):
        raise TransportFailure(*_told(error, answered=answered)) from None
    if isinstance(error, ValueError) and not answered:
        raise TransportFailure("connect", "its URL or a header cannot be sent") from None
    raise error


def _told(error: Exception, *, answered: bool) -> tuple[FailureKind, str]:
    """Say what happened, without the URL: its query may hold a secret."""
    match error:
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return "connect", "its URL cannot be used"
        case aiohttp.ClientHttpProxyError():
            return "connect", f"its proxy answered {error.status}"
        case aiohttp.ClientConnectorCertificateError():
            return "connect", f"its certificate is not trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return "connect", error.os_error.strerror or str(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return "connect", "no connection in time"
        case aiohttp.SocketTimeoutError():
            return "timeout", "silent for too long"
        case TimeoutError():
            return "timeout", "the total deadline has passed"
        case aiohttp.ServerDisconnectedError():
            said = "the connection closed before an answer came"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            said = " ".join(error.message.split())
        case OSError():
            said = os.strerror(error.errno) if error.errno else "the connection was lost"
        case _:
            said = " ".join(str(error).split())
    return "incomplete" if answered else "protocol", said or type(error).__name__
