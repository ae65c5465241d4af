"""`DefaultTransport`: for each colour the fastest transport that keeps the port's promises.

Threads call through pyreqwest, event loops through asyncio itself. What an event loop has to send
through a proxy goes through httpx; so does everything in a child forked after pyreqwest's runtime
started (see `pyreqwest`).
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

from mesh_plugins.http.aio.transport import AsyncioTransport
from mesh_plugins.http.httpx import HttpxTransport
from mesh_plugins.http.pyreqwest import PyreqwestTransport
from mesh_plugins.http.transport import (
    AsyncByteStream,
    ByteStream,
    HttpRequest,
    HttpResponse,
    TransportOptions,
)

_MOST_KEPT = 1_024


class DefaultTransport:
    """Sends over what is best for the caller's colour and the network."""

    def __init__(self, options: TransportOptions | None = None) -> None:
        self._options = options or TransportOptions()
        self._threads = PyreqwestTransport(self._options)
        self._loops = AsyncioTransport(self._options)
        self._proxied = HttpxTransport(self._options)
        self._chosen: dict[str, AsyncioTransport | HttpxTransport] = {}

    def send(self, request: HttpRequest) -> HttpResponse:
        return self._threads.send(request)

    def asend(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        return self._for_loops(request.url).asend(request)

    def stream(self, request: HttpRequest) -> ByteStream:
        return self._threads.stream(request)

    def astream(self, request: HttpRequest) -> Coroutine[Any, Any, AsyncByteStream]:
        return self._for_loops(request.url).astream(request)

    def close(self) -> None:
        self._threads.close()
        self._proxied.close()

    async def aclose(self) -> None:
        self.close()
        await self._loops.aclose()
        await self._proxied.aclose()

    def _for_loops(self, url: str) -> AsyncioTransport | HttpxTransport:
        chosen = self._chosen.get(url)
        if chosen is None:
            if len(self._chosen) >= _MOST_KEPT:
                self._chosen.clear()
            chosen = self._chosen[url] = self._proxied if self._needs_proxy(url) else self._loops
        return chosen

    def _needs_proxy(self, url: str) -> bool:
        if self._options.proxy is not None or not self._options.use_environment:
            return self._options.proxy is not None
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        proxies = getproxies()
        return bool(
            (proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")
        )
