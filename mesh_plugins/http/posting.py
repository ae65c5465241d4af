"""A whole request out and a whole answer in, over aiohttp's connections without its session around them.

A session builds for each request what is the same for all that go to one address (URL, headers, checks), and
starts a task to write what is written in one step: half of the processor time of a call. Here that is done
once per address; connecting, pooling, TLS, parsing and decompressing are aiohttp's as ever.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from mesh_plugins.http.aiohttp_failures import fail
from mesh_plugins.http.transport import HttpRequest, HttpResponse, bounded, most_of

_MOST_KEPT = 1_024
#: How aiohttp is told to read an answer.
_READING: dict[str, Any] = {
    "read_until_eof": True,
    "auto_decompress": True,
    "read_bufsize": 2**16,
    "timeout_ceil_threshold": float("inf"),
}


@dataclass(slots=True, frozen=True)
class _Address:
    """Where requests go, and what they all begin with.

    Attributes:
        headers: what the caller says, by which it is known again.
        secured: how the connection is secured.
        asked: what aiohttp connects for.
        head: the request up to the length of its body.
    """

    headers: dict[str, str] = field(repr=False)
    secured: Any
    asked: aiohttp.ClientRequest = field(repr=False)
    head: bytes = field(repr=False)


class Posting:
    """Posts over the connections of one session.

    Args:
        session: whose connections are used.
        connect_s: seconds a new connection may take.
    """

    def __init__(self, session: aiohttp.ClientSession, connect_s: float) -> None:
        assert session.connector is not None
        self._session, self._connector = session, session.connector
        self._patience = aiohttp.ClientTimeout(
            total=None, connect=connect_s, ceil_threshold=_READING["timeout_ceil_threshold"]
        )
        self._kept: dict[str, _Address] = {}

    async def post(self, request: HttpRequest, secured: Any) -> HttpResponse:
        """Send, and wait for the whole answer.

        Args:
            request: what to send.
            secured: aiohttp's ``ssl``.

        Raises:
            TransportFailure: there was no usable answer.
        """
        connection, answered = None, False
        try:
            address = self._address(request, secured)
            async with asyncio.timeout(max(0.001, request.timeout_s)):
                connection = await self._connector.connect(address.asked, [], self._patience)
                protocol: Any = connection.protocol
                protocol.set_response_params(**_READING)
                body = request.body
                # Once, so that it leaves in one piece; what the system does not take at once aiohttp keeps.
                protocol.transport.write(b"%b%d\r\n\r\n%b" % (address.head, len(body), body))
                message, content = await protocol.read()
                while message.code < 200 and message.code != 101:
                    message, content = await protocol.read()
                answered = True
                answer = await _whole(message.code, content)
        except Exception as error:
            if connection is None and isinstance(error, TimeoutError):
                error = aiohttp.ConnectionTimeoutError()
            fail(error, answered=answered)
        else:
            transport = protocol.transport
            if content.is_eof() and transport is not None and not transport.get_write_buffer_size():
                connection.release()
            return HttpResponse(message.code, message.headers, answer)
        finally:
            # Whatever was released is not closed by it.
            if connection is not None:
                connection.close()

    def _address(self, request: HttpRequest, secured: Any) -> _Address:
        kept = self._kept.get(request.url)
        if kept is not None and kept.secured is secured and kept.headers == request.headers:
            return kept
        asked = aiohttp.ClientRequest(
            "POST",
            URL(request.url),
            headers=request.headers,
            loop=asyncio.get_running_loop(),
            session=self._session,
            ssl=secured,
        )
        if not asked.url.raw_host or asked.url.scheme not in ("http", "https"):
            raise aiohttp.InvalidURL(request.url)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        made = _Address(dict(request.headers), secured, asked, _head(asked))
        self._kept[request.url] = made
        return made


async def _whole(status: int, content: aiohttp.StreamReader) -> bytes:
    """Read a body up to the first piece beyond what is allowed."""
    most, size, pieces = most_of(status), 0, []
    while size <= most and (piece := await content.readany()):
        pieces.append(piece)
        size += len(piece)
    return bounded(status, pieces[0] if len(pieces) == 1 else b"".join(pieces))


def _head(asked: aiohttp.ClientRequest) -> bytes:
    """Return the lines of a request up to the value of its last header, which is its body's length."""
    lines = [f"POST {asked.url.raw_path_qs} HTTP/1.1"]
    for name, value in asked.headers.items():
        if name.lower() not in ("content-length", "transfer-encoding", "connection"):
            lines.append(f"{name}: {value}")
    if any(end in line for line in lines for end in "\r\n\0"):
        raise ValueError("a header has a line break")
    return "\r\n".join([*lines, "Content-Length: "]).encode()


def fits() -> bool:
    """Tell whether this aiohttp is made as this file knows it."""
    try:
        accepted = inspect.signature(ResponseHandler.set_response_params).parameters
        known = inspect.signature(aiohttp.ClientRequest).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    return _READING.keys() <= accepted.keys() and {"headers", "loop", "session", "ssl"} <= known.keys()
