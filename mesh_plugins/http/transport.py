"""The transport port: one request goes out, once; a reply or a stream of bytes comes back.

A transport follows no redirect (a cross-origin 307 would carry ``x-api-key`` along), retries
nothing, keeps no cookies, and reads no more than it was told to. What goes wrong is a
`TransportFailure`; no library's own exception leaves a transport.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: The most of a reply's body that is read, in bytes.
MOST_BODY = 64 * 1024 * 1024
#: The most of an error's body that is read, in bytes.
MOST_ERROR_BODY = 64 * 1024
#: Idle connections are closed after this: before providers, and the boxes in front of them, do it (60 s).
IDLE_CONNECTION_S = 50.0

FailureKind = Literal["connect", "timeout", "incomplete", "protocol"]


class TransportFailure(Exception):
    """No usable answer came back.

    Attributes:
        kind: ``connect`` (nothing was sent), ``timeout``, ``incomplete`` (the answer broke off) or
            ``protocol`` (anything else; the request may have been received).
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(slots=True)
class HttpRequest:
    """A POST, ready to go out.

    Attributes:
        url: the whole address, query included.
        headers: by lower-case name.
        body: JSON.
        timeout_s: until the last byte of the answer.
        idle_s: the longest silence while a stream is read; None leaves it to ``timeout_s``.
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout_s: float
    idle_s: float | None = None


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return one of an answer's headers; None where there is none, or its bytes are no text."""
    try:
        return headers.get(name)
    except ValueError:  # pyreqwest's word on bytes that are not ASCII
        return None


@dataclass(slots=True)
class HttpResponse:
    """An answer with its whole body; ``headers.get`` ignores case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, frozen=True)
class TransportOptions:
    """What an operator may want of connections.

    Attributes:
        connect_s: to open a connection.
        max_connections: requests in flight at once; more wait for ``connect_s``.
        proxy: URL of a proxy for everything; None uses the environment's (``HTTPS_PROXY``, …).
        use_environment: False ignores proxies in the environment.
        ca_pem: path of a PEM file with the authorities to trust besides the usual ones.
        client_pem: path of a PEM file with the client's certificate and key, for mTLS.
    """

    connect_s: float = 10.0
    max_connections: int = 1_000
    proxy: str | None = None
    use_environment: bool = True
    ca_pem: str | None = None
    client_pem: str | None = None


class ByteStream(Protocol):
    """An answer whose body arrives piece by piece."""

    status: int
    headers: Mapping[str, str]

    def read(self) -> bytes:
        """Return the next piece, ``b""`` at the end.

        Raises:
            TransportFailure: the answer broke off, or was silent for too long.
        """
        ...

    def close(self) -> None:
        """Close; the connection too, unless the body was read to its end. May be called twice."""


class AsyncByteStream(Protocol):
    """Like `ByteStream`, on the caller's event loop."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    async def close(self) -> None: ...


class SyncTransport(Protocol):
    """Sends requests; safe to use from many threads and forked children."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send, and wait for the whole answer.

        Raises:
            TransportFailure: there was no usable answer.
        """
        ...

    def stream(self, request: HttpRequest) -> ByteStream:
        """Send, and return once a status arrived."""
        ...

    def close(self) -> None:
        """Let go of every connection that no event loop owns; may be called twice."""


class AsyncTransport(Protocol):
    """Sends requests; safe to use from many event loops, in many threads and forked children.

    A caller that is cancelled, at whatever moment, wants no answer: its connection is closed at once.
    """

    async def asend(self, request: HttpRequest) -> HttpResponse:
        """Like `SyncTransport.send`, on the caller's event loop."""
        ...

    async def astream(self, request: HttpRequest) -> AsyncByteStream:
        """Like `SyncTransport.stream`, on the caller's event loop."""
        ...

    async def aclose(self) -> None:
        """Let go of every connection, those of the running event loop included."""


class Transport(SyncTransport, AsyncTransport, Protocol):
    """Sends in both colours."""


def most_of(status: int) -> int:
    """Return how many bytes of an answer are read."""
    return MOST_BODY if status < 400 else MOST_ERROR_BODY


def bounded(status: int, body: bytes) -> bytes:
    """Return a body that was read up to one byte beyond what is allowed; errors are cut, replies refused.

    Raises:
        TransportFailure: the reply is larger than `MOST_BODY`.
    """
    most = most_of(status)
    if len(body) <= most:
        return body
    if status < 400:
        raise TransportFailure("protocol", f"the reply is larger than {most >> 20} MiB")
    return body[:most]
