"""A local provider over real HTTP: OpenAI's and Anthropic's wire formats, deterministic, scriptable.

In a thread of this process::

    with StandInProvider() as provider:
        provider.base_url          # "http://127.0.0.1:PORT/v1", for kind openai
        provider.anthropic_url     # "http://127.0.0.1:PORT", for kind anthropic
        provider.script("flaky", status=503, retry_after="1", times=2)
        provider.count             # requests that arrived

or as a process of its own, which prints its address: ``python -m mesh_plugins.testing.provider --port 0``.
It listens on the loopback interface only.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from mesh_plugins.testing.standin.http import Answer, Connection, Request
from mesh_plugins.testing.standin.router import Router
from mesh_plugins.testing.standin.script import Scripts

_KEPT = 10_000


@dataclass(slots=True, frozen=True)
class Recorded:
    """A request that arrived; header names are lower case, ``json`` is None when it was none."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    json: Any


class StandInProvider:
    """A provider that costs nothing.

    Attributes:
        requests: what arrived, oldest first, the last 10,000.
        count: how many requests arrived.
        connections: how many connections were ever opened.
        aborted: how many were closed by the client in the middle of an answer.
    """

    def __init__(self, port: int = 0, *, record: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.requests: deque[Recorded] = deque(maxlen=_KEPT if record else 0)
        self.count = self.connections = self.aborted = 0
        self._open: set[Connection] = set()
        self._port = port
        self._tls = tls
        self._scripts = Scripts()
        self._router = Router(self._scripts)
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """Base URL for kind ``openai``."""
        return f"{self.origin}/v1"

    @property
    def anthropic_url(self) -> str:
        """Base URL for kind ``anthropic``."""
        return self.origin

    def script(self, model: str = "*", **changes: Any) -> None:
        """Misbehave for a model (``*``: for all); the fields of `standin.script.Script` say how."""
        self._scripts.script(model, **changes)

    def clear(self) -> None:
        """Behave again, and forget what arrived."""
        self._scripts.clear()
        self.requests.clear()
        self.count = self.aborted = 0

    def wait_for(self, claim: Callable[[Self], bool], timeout_s: float = 10.0) -> bool:
        """Wait until a claim about this provider holds; False when it did not in time."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while not claim(self):
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    return claim(self)
        return True

    def drop_connections(self) -> None:
        """Close every connection, as a provider does with those that were idle for too long."""
        assert self._loop is not None, "not running"
        self._loop.call_soon_threadsafe(self._abort_connections)

    def start(self) -> Self:
        """Listen, in a thread of its own."""
        ready: list[BaseException | None] = []
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="stand-in-provider", daemon=True
        )
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: bool(ready))
        if ready[0] is not None:
            raise ready[0]
        return self

    def stop(self) -> None:
        """Close every connection and stop listening; may be called twice."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def serve(self) -> asyncio.Server:
        """Listen on the running event loop."""
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._answer, self), "127.0.0.1", self._port, backlog=1024, ssl=self._tls
        )
        self._port = server.sockets[0].getsockname()[1]
        return server

    def opened(self, connection: Connection) -> None:
        """A client came."""
        with self._changed:
            self.connections += 1
            self._open.add(connection)
            self._changed.notify_all()

    def closed(self, connection: Connection, aborted: bool) -> None:
        """A client went, perhaps in the middle of an answer."""
        with self._changed:
            self._open.discard(connection)
            self.aborted += aborted
            self._changed.notify_all()

    def _run(self, ready: list[BaseException | None]) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            error: BaseException | None = None
            try:
                server = runner.run(self.serve())
            except OSError as failure:
                error = failure
            with self._changed:
                ready.append(error)
                self._changed.notify_all()
            if error is None:
                self._loop.run_forever()
                server.close()
                runner.run(self._hang_up())

    async def _hang_up(self) -> None:
        self._abort_connections()
        while self._open:  # noqa: ASYNC110 - their ends are already on the way, a turn or two of this loop
            await asyncio.sleep(0)

    def _abort_connections(self) -> None:
        for connection in tuple(self._open):
            connection.abort()

    def _answer(self, request: Request) -> Answer:
        body = _parsed(request.body)
        if request.path == "/stand-in/requests":
            return Answer(body=msgspec.json.encode({"count": self.count, "requests": list(self.requests)}))
        with self._changed:
            self.count += 1
            self.requests.append(Recorded(request.method, request.path, request.query, request.headers, body))
            self._changed.notify_all()
        return self._router.answer(request, body)


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def _serve_for_ever(provider: StandInProvider) -> None:
    server = await provider.serve()
    print(provider.base_url, flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until interrupted, and print the OpenAI base URL on a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m mesh_plugins.testing.provider", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 lets the kernel choose")
    parser.add_argument("--no-record", action="store_true", help="only count requests (for benchmarks)")
    options = parser.parse_args()
    try:
        asyncio.run(_serve_for_ever(StandInProvider(options.port, record=not options.no_record)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
