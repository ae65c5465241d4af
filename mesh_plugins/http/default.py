"""`DefaultTransport`: for each colour the fastest library that keeps the port's promises.

Threads call through pyreqwest, event loops through aiohttp; threads of a child forked after
pyreqwest's runtime started through httpx (see `pyreqwest`). The main thread, where signals are heard, and
threads that it waits for call through aiohttp, too (see `interruptible`): pyreqwest would hold up Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from mesh_plugins.http import wards
from mesh_plugins.http.pyreqwest import PyreqwestTransport
from mesh_plugins.http.transport import (
    AsyncByteStream,
    ByteStream,
    HttpRequest,
    HttpResponse,
    SyncTransport,
    TransportOptions,
)
from mesh_store.model.forking import forkable_lock

if TYPE_CHECKING:
    from mesh_plugins.http.aiohttp import AiohttpTransport
    from mesh_plugins.http.interruptible import InterruptibleTransport


class DefaultTransport:
    """Sends over what is best for the caller's colour."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._threads = PyreqwestTransport(self._options)
        self._loops: AiohttpTransport | None = None
        self._interruptible: InterruptibleTransport | None = None
        self._lock = forkable_lock()

    def send(self, request: HttpRequest) -> HttpResponse:
        return self._for_this_thread(request.url).send(request)

    def asend(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        return (self._loops or self._for_loops()).asend(request)

    def stream(self, request: HttpRequest) -> ByteStream:
        return self._for_this_thread(request.url).stream(request)

    def astream(self, request: HttpRequest) -> Coroutine[Any, Any, AsyncByteStream]:
        return (self._loops or self._for_loops()).astream(request)

    def close(self) -> None:
        self._threads.close()
        if self._interruptible is not None:
            self._interruptible.close()

    async def aclose(self) -> None:
        self.close()
        if self._loops is not None:
            await self._loops.aclose()

    def _for_this_thread(self, url: str) -> SyncTransport:
        if not wards.interruptible():
            return self._threads
        loops = self._loops or self._for_loops()
        if not loops.reaches(url):
            return self._threads
        if self._interruptible is None:
            from mesh_plugins.http.interruptible import InterruptibleTransport

            # Made twice by two threads at once, one of them is soon dropped with its loops.
            self._interruptible = InterruptibleTransport(loops)
        return self._interruptible

    def _for_loops(self) -> AiohttpTransport:
        # Imported by who needs it: 0.2 s that threads do not pay.
        from mesh_plugins.http.aiohttp import AiohttpTransport

        with self._lock:
            if self._loops is None:
                self._loops = AiohttpTransport(self._options)
            return self._loops
