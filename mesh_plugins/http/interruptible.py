"""The transport for the main thread, and for threads it waits for: aiohttp, over loops they drive themselves.

A call takes a loop with its connections, a stream keeps one until it ends; who calls in a row stays on one
connection. See `ownloop` for why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from mesh_plugins.http import wards
from mesh_plugins.http.aiohttp import AiohttpStream, AiohttpTransport
from mesh_plugins.http.loops import inherited
from mesh_plugins.http.ownloop import OwnLoop
from mesh_plugins.http.transport import ByteStream, HttpRequest, HttpResponse, TransportFailure
from mesh_store.model.forking import forkable_lock

_T = TypeVar("_T")


class InterruptibleTransport:
    """Sends from threads over what sends on event loops.

    Args:
        inner: what sends; shared with others.
    """

    def __init__(self, inner: AiohttpTransport) -> None:
        self._inner = inner
        self._idle: list[OwnLoop] = []
        self._pid = os.getpid()

    def send(self, request: HttpRequest) -> HttpResponse:
        own = self._taken()
        try:
            return run(own, self._inner.asend(request))
        finally:
            self.give_back(own)

    def stream(self, request: HttpRequest) -> ByteStream:
        own, ends = self._taken(), time.monotonic() + request.timeout_s
        try:
            return _Stream(self, own, run(own, self._inner.astream(request)), ends)
        except BaseException:
            self.give_back(own)
            raise

    def close(self) -> None:
        if self._pid == os.getpid():
            while self._idle:
                self._idle.pop().end()

    def give_back(self, own: OwnLoop) -> None:
        """Take a loop back from who is done with it."""
        if not own.ended:
            self._idle.append(own)

    def _taken(self) -> OwnLoop:
        if self._pid != os.getpid():
            inherited.append(self._idle)
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return OwnLoop(self._inner.aclose)


def run(own: OwnLoop, doing: Coroutine[Any, Any, _T]) -> _T:
    """Drive a loop for whoever is interruptible here."""
    ward = wards.current()
    if ward is not None:
        try:
            ward.check()
        except BaseException:
            doing.close()
            raise
    return own.run(doing, ward)


class _Stream:
    """A synchronous answer, piece by piece; whichever thread reads drives the loop."""

    def __init__(
        self, home: InterruptibleTransport, own: OwnLoop, source: AiohttpStream, ends: float
    ) -> None:
        self._home, self._own, self._source, self._ends = home, own, source, ends
        self._pid = os.getpid()
        self._driving = forkable_lock()
        self._closed = False
        self.status = source.status
        self.headers: Mapping[str, str] = source.headers

    def read(self) -> bytes:
        if self._pid != os.getpid():
            raise TransportFailure("incomplete", "its connection is its parent process's")
        if time.monotonic() > self._ends:
            raise TransportFailure("timeout", "the total deadline has passed")
        if (piece := self._source.read_nowait()) is not None:
            return piece
        try:
            with self._driving:
                if self._closed:
                    raise TransportFailure("incomplete", "the stream was closed")
                return run(self._own, self._source.read())
        finally:
            if self._closed:
                self._leave()

    def drain(self, seconds: float) -> None:
        """Read the end of an answer of which all was said, so that its connection can be used again."""
        if not self._closed and self._pid == os.getpid():
            with self._driving:
                run(self._own, self._source.drain(seconds))

    def close(self) -> None:
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._source.shut()  # the provider hears of it now, whoever is in the middle of reading
        self._leave()

    def _leave(self) -> None:
        """Give the loop back, unless somebody is driving it, who does it then."""
        if not self._driving.acquire(blocking=False):
            return
        try:
            own, self._own = self._own, _NOBODYS
            if own is not _NOBODYS:
                self._source.let_go()
                self._home.give_back(own)
        finally:
            self._driving.release()

    def __del__(self) -> None:
        self.close()


_NOBODYS: Any = None
