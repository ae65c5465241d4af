"""The transport for threads: Rust's reqwest, at a quarter of httpx's latency.

One client per colour and idle timeout serves the process: connections belong to pyreqwest's own
runtime, not to an event loop, so clients outlive ``asyncio.run``. In a child forked after that
runtime started, every call goes through `HttpxTransport` instead (see `forks`).

Known limit (0.15.1): a task cancelled before the provider's status arrived leaves its request, and
its share of `TransportOptions.max_connections`, until the provider answers or the call's total
deadline passes. Nothing is sent twice. Event loops are therefore better served by
`AsyncioTransport`, which `DefaultTransport` gives them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mesh_plugins.http import forks
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    AsyncByteStream,
    ByteStream,
    HttpRequest,
    HttpResponse,
    Transport,
    TransportFailure,
    TransportOptions,
    bounded,
    most_of,
)

if TYPE_CHECKING:
    from pyreqwest.client import BaseClientBuilder, Client, SyncClient
    from pyreqwest.request import BaseRequestBuilder, StreamRequest, SyncStreamRequest
    from pyreqwest.response import Response, SyncResponse

_Builder = TypeVar("_Builder", bound="BaseRequestBuilder")
_ClientBuilder = TypeVar("_ClientBuilder", bound="BaseClientBuilder")
_AnyClient = TypeVar("_AnyClient", "SyncClient", "Client")


class PyreqwestTransport:
    """Sends over pyreqwest, or over httpx where pyreqwest cannot work."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._sync: dict[float | None, SyncClient] = {}
        self._async: dict[float | None, Client] = {}
        self._other: Transport | None = None
        self._lock = threading.Lock()

    def send(self, request: HttpRequest) -> HttpResponse:
        if (client := self._client(request.idle_s)) is None:
            return self._elsewhere().send(request)
        try:
            with _ready(client.request(request.method, request.url), request).build_streamed() as response:
                status = response.status
                body = bytes(response.body_reader.read(most_of(status) + 1) or b"")
                return HttpResponse(status, response.headers, bounded(status, body))
        except Exception as error:
            fail(error)

    async def asend(self, request: HttpRequest) -> HttpResponse:
        if (client := self._aclient(request.idle_s)) is None:
            return await self._elsewhere().asend(request)
        try:
            async with _ready(
                client.request(request.method, request.url), request
            ).build_streamed() as response:
                status = response.status
                body = bytes(await response.body_reader.read(most_of(status) + 1) or b"")
                return HttpResponse(status, response.headers, bounded(status, body))
        except Exception as error:
            fail(error)

    def stream(self, request: HttpRequest) -> ByteStream:
        if (client := self._client(request.idle_s)) is None:
            return self._elsewhere().stream(request)
        try:
            # Without the limit it reads 64 KiB ahead before it says that there is an answer.
            builder = _ready(client.request(request.method, request.url), request)
            sending = builder.streamed_read_buffer_limit(0).build_streamed()
            return _Stream(sending, sending.__enter__())
        except Exception as error:
            fail(error)

    async def astream(self, request: HttpRequest) -> AsyncByteStream:
        if (client := self._aclient(request.idle_s)) is None:
            return await self._elsewhere().astream(request)
        try:
            builder = _ready(client.request(request.method, request.url), request)
            sending = builder.streamed_read_buffer_limit(0).build_streamed()
            return _AsyncStream(sending, await sending.__aenter__())
        except Exception as error:
            fail(error)

    def close(self) -> None:
        with self._lock:
            # In a forked child the inherited clients are kept as they are: closing them would hang.
            if not forks.runtime_lost():
                for client in self._sync.values():
                    client.close()
                self._sync.clear()
                self._async.clear()
            if self._other is not None:
                self._other.close()

    async def aclose(self) -> None:
        clients = [] if forks.runtime_lost() else list(self._async.values())
        self.close()
        for client in clients:
            await client.close()
        if self._other is not None:
            await self._other.aclose()

    def _client(self, idle_s: float | None) -> SyncClient | None:
        if forks.runtime_lost():
            return None
        return self._sync.get(idle_s) or self._made(self._sync, idle_s, _sync_client)

    def _aclient(self, idle_s: float | None) -> Client | None:
        if forks.runtime_lost():
            return None
        return self._async.get(idle_s) or self._made(self._async, idle_s, _async_client)

    def _made(
        self,
        clients: dict[float | None, _AnyClient],
        idle_s: float | None,
        make: Callable[[TransportOptions, float | None], _AnyClient],
    ) -> _AnyClient | None:
        with self._lock:
            if idle_s not in clients:
                try:
                    clients[idle_s] = make(self._options, idle_s)
                except RuntimeError:
                    forks.note_lost_runtime()
                    return None
                forks.runtime_started()
            return clients[idle_s]

    def _elsewhere(self) -> Transport:
        with self._lock:
            if self._other is None:
                from mesh_plugins.http.httpx import HttpxTransport

                self._other = HttpxTransport(self._options)
            return self._other


class _Stream:
    """A synchronous answer, piece by piece."""

    __slots__ = ("_reader", "_sending", "headers", "status")

    def __init__(self, sending: SyncStreamRequest, response: SyncResponse) -> None:
        self._sending: SyncStreamRequest | None = sending
        self._reader = response.body_reader
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self) -> bytes:
        try:
            return bytes(self._reader.read_chunk() or b"")
        except Exception as error:
            fail(error, answered=True)

    def close(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.__exit__(None, None, None)

    def __del__(self) -> None:
        self.close()  # dropping alone closes the connection only when its next byte arrives


class _AsyncStream:
    """An answer on an event loop, piece by piece."""

    __slots__ = ("_reader", "_sending", "headers", "status")

    def __init__(self, sending: StreamRequest, response: Response) -> None:
        self._sending: StreamRequest | None = sending
        self._reader = response.body_reader
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return bytes(await self._reader.read_chunk() or b"")
        except Exception as error:
            fail(error, answered=True)

    async def close(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            await sending.__aexit__(None, None, None)

    def __del__(self) -> None:
        if self._sending is not None:
            with contextlib.suppress(StopIteration):
                # It is done in its first step; a dropped stream has nobody to await more.
                self._sending.__aexit__(None, None, None).send(None)


def _ready(builder: _Builder, request: HttpRequest) -> _Builder:
    return builder.headers(request.headers).body_bytes(request.body).timeout(_seconds(request.timeout_s))


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=max(0.001, seconds))


def _sync_client(options: TransportOptions, idle_s: float | None) -> SyncClient:
    from pyreqwest.client import SyncClientBuilder

    return _configured(SyncClientBuilder(), options, idle_s).build()


def _async_client(options: TransportOptions, idle_s: float | None) -> Client:
    from pyreqwest.client import ClientBuilder

    return _configured(ClientBuilder(), options, idle_s).build()


def _configured(builder: _ClientBuilder, options: TransportOptions, idle_s: float | None) -> _ClientBuilder:
    builder = (
        builder.follow_redirects(False)
        .referer(False)
        .connect_timeout(_seconds(options.connect_s))
        .max_connections(options.max_connections)
        .pool_timeout(_seconds(options.connect_s))
        .pool_idle_timeout(_seconds(IDLE_CONNECTION_S))
    )
    if idle_s is not None:
        builder = builder.read_timeout(_seconds(idle_s))
    if options.proxy is not None or not options.use_environment:
        builder = builder.no_proxy()
    if options.proxy is not None:
        from pyreqwest.proxy import ProxyBuilder

        builder = builder.proxy(ProxyBuilder.all(options.proxy))
    if options.ca_pem is not None:
        builder = builder.add_root_certificate_pem(Path(options.ca_pem).read_bytes())
    if options.client_pem is not None:
        builder = builder.identity_pem(Path(options.client_pem).read_bytes())
    return builder


def fail(error: Exception, *, answered: bool = False) -> NoReturn:
    """Raise what a transport may raise for one of pyreqwest's exceptions, or the exception itself."""
    from pyreqwest.exceptions import DetailedPyreqwestError, PoolTimeoutError

    if not isinstance(error, DetailedPyreqwestError):
        raise error
    causes = [cause["message"] for cause in error.details.get("causes") or ()]
    # The chain names the whole URL, query included: only its last link is shown.
    message = causes[-1] if causes else type(error).__name__
    if "client error (Connect)" in causes or isinstance(error, PoolTimeoutError):
        raise TransportFailure("connect", message) from None
    if isinstance(error, TimeoutError):
        raise TransportFailure("timeout", message) from None
    broken = answered or "error reading a body from connection" in causes
    raise TransportFailure("incomplete" if broken else "protocol", message) from None
