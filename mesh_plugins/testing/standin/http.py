"""The little of HTTP/1.1 the stand-in needs: keep-alive, bodies by length, chunked answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

from mesh_plugins.testing.standin.script import PLAIN, Script

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_SSE = "text/event-stream; charset=utf-8"


@dataclass(slots=True)
class Request:
    """A request as it arrived; header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Answer:
    """What to say, and how: a body at once, or events one after the other."""

    status: int = 200
    body: bytes = b""
    events: list[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    script: Script = PLAIN


class Watcher(Protocol):
    """Who wants to know of connections."""

    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection, aborted: bool) -> None: ...


class Connection(asyncio.Protocol):
    """One client's connection: parses requests in turn and plays their answers."""

    def __init__(self, answer: Callable[[Request], Answer], watcher: Watcher) -> None:
        self._answer = answer
        self._watcher = watcher
        self._buffer = bytearray()
        self._playing: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._watcher.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        playing = self._playing is not None
        if self._playing is not None:
            self._playing.cancel()
        # asyncio closes the socket only after this; who waits for the end shall find it closed.
        asyncio.get_running_loop().call_soon(self._watcher.closed, self, playing)

    def abort(self) -> None:
        """Close at once, whatever is being said."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve()

    def _serve(self) -> None:
        while self._playing is None and not self._transport.is_closing():
            request = self._next_request()
            if request is None:
                return
            answer = self._answer(request)
            if answer.events is None and _is_plain(answer.script):
                self._transport.write(_whole(answer))
            else:
                self._playing = asyncio.get_running_loop().create_task(self._play(answer))
                self._playing.add_done_callback(self._played)

    def _next_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        start = end + 4
        stop = start + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            if headers.get("expect") == "100-continue" and len(self._buffer) == start:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        method, _, rest = head[0].partition(" ")
        path, _, query = rest.rpartition(" ")[0].partition("?")
        return Request(method, unquote(path), query, headers, body)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._playing = None
        if not task.cancelled():
            task.result()
            self._serve()

    async def _play(self, answer: Answer) -> None:
        script = answer.script
        if script.latency_s:
            await asyncio.sleep(script.latency_s)
        if script.hang_up:
            self._playing = None
            self._transport.abort()
        elif answer.events is None and script.cut_after is not None:
            self._transport.write(_whole(answer)[:-1])
            self._break_off()
        elif answer.events is None:
            self._transport.write(_whole(answer))
        else:
            await self._play_events(answer, answer.events)

    async def _play_events(self, answer: Answer, events: list[bytes]) -> None:
        script = answer.script
        self._transport.write(_head(answer, _SSE) + b"transfer-encoding: chunked\r\n\r\n")
        for index, event in enumerate(_pieces(events, script.split)):
            if index == script.stall_after:
                await asyncio.sleep(script.stall_s)
            if index == script.cut_after:
                self._break_off()
                return
            if index == script.end_after:
                break
            if index and script.chunk_delay_s:
                await asyncio.sleep(script.chunk_delay_s)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0)
        self._transport.write(b"0\r\n\r\n")

    def _break_off(self) -> None:
        self._playing = None  # it is us who close: nobody aborted
        self._transport.close()


def _is_plain(script: Script) -> bool:
    return not script.latency_s and not script.hang_up and script.cut_after is None


def _pieces(events: list[bytes], size: int) -> list[bytes]:
    if not size:
        return events
    whole = b"".join(events)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _head(answer: Answer, content_type: str) -> bytes:
    kind = answer.script.content_type or content_type
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}", f"content-type: {kind}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


def _whole(answer: Answer) -> bytes:
    head = _head(answer, "application/json")
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(answer.body), answer.body)
