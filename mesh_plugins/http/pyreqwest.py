"""The transport for threads: Rust's reqwest, at a quarter of httpx's latency.

One client per idle timeout serves the process. In a child forked after pyreqwest's runtime started,
every call goes through `HttpxTransport` instead (see `forks`).

It has no asynchronous colour, because that would break a promise of the port: in 0.15.1 a task
cancelled before the provider's status arrived leaves its request, its connection and its share of
`TransportOptions.max_connections` until the provider answers or the total deadline passes. Event
loops are `AiohttpTransport`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mesh_plugins.http import forks, native
from mesh_plugins.http.transport import (
    IDLE_CONNECTION_S,
    ByteStream,
    HttpRequest,
    HttpResponse,
    SyncTransport,
    TransportFailure,
    TransportOptions,
    bounded,
    most_of,
)
from mesh_store.model.forking import forkable_lock

if TYPE_CHECKING:
    from pyreqwest.client import SyncClient
    from pyreqwest.request import SyncRequestBuilder, SyncStreamRequest
    from pyreqwest.response import SyncResponse


class PyreqwestTransport:
    """Sends over pyreqwest, or over httpx where pyreqwest cannot work."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._clients: dict[float | None, SyncClient] = {}
        self._other: SyncTransport | None = None
        self._lock = forkable_lock()

    def send(self, request: HttpRequest) -> HttpResponse:
        if (client := self._client(request.idle_s)) is None:
            return self._elsewhere().send(request)
        try:
            with _ready(client, request).build_streamed() as response:
                status = response.status
                body = bytes(response.body_reader.read(most_of(status) + 1) or b"")
                return HttpResponse(status, response.headers, bounded(status, body))
        except Exception as error:
            fail(error)

    def stream(self, request: HttpRequest) -> ByteStream:
        if (client := self._client(request.idle_s)) is None:
            return self._elsewhere().stream(request)
        try:
            # Without the limit it reads 64 KiB ahead before it says that there is an answer.
            sending = _ready(client, request).streamed_read_buffer_limit(0).build_streamed()
            return _Stream(sending, sending.__enter__())
        except Exception as error:
            fail(error)

    def close(self) -> None:
        with self._lock:
            # In a forked child the inherited clients are kept as they are: closing them would hang.
            if not forks.runtime_lost():
                for client in self._clients.values():
                    client.close()
                self._clients.clear()
            if self._other is not None:
                self._other.close()

    def _client(self, idle_s: float | None) -> SyncClient | None:
        if forks.runtime_lost():
            return None
        return self._clients.get(idle_s) or self._made(idle_s)

    def _made(self, idle_s: float | None) -> SyncClient | None:
        with self._lock:
            if idle_s not in self._clients:
                forks.runtime_starts()
                try:
                    self._clients[idle_s] = _configured(self._options, idle_s)
                except RuntimeError:
                    forks.note_lost_runtime()
                    return None
            return self._clients[idle_s]

    def _elsewhere(self) -> SyncTransport:
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


def _ready(client: SyncClient, request: HttpRequest) -> SyncRequestBuilder:
    return (
        client.post(request.url)
        .headers(request.headers)
        .body_bytes(request.body)
        .timeout(_seconds(request.timeout_s))
    )


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=max(0.001, seconds))


def _configured(options: TransportOptions, idle_s: float | None) -> SyncClient:
    native.load()
    from pyreqwest.client import SyncClientBuilder

    builder = (
        SyncClientBuilder()
        .follow_redirects(False)
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
    return builder.build()


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
