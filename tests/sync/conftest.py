"""A real Valkey for the session, an in-memory source of configuration, and what publishes it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import redis.asyncio

from mesh_store.model.ids import new_id
from mesh_store.model.snapshot import Alias, KeyEntry, SnapshotDocument, Target
from mesh_store.redis.client import connect, connect_async
from mesh_store.sync import Subscriber
from tests.engines import Valkey, Valkeys


def eventually(holds: Callable[[], Any], timeout: float = 60.0, step: float = 0.002) -> Any:
    """Ask until ``holds`` returns something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (result := holds()):
        assert time.monotonic() < deadline, "this did not come true in time"
        time.sleep(step)
    return result


class Head(NamedTuple):
    epoch: str
    revision: int
    keys_revision: int


class KeysDelta(NamedTuple):
    revision: int
    entries: list[tuple[bytes, KeyEntry]]


class MemorySource:
    """A database in memory with the three questions of `ConfigSource`."""

    def __init__(self) -> None:
        self.epoch = new_id()
        self.revision = 0
        self.keys_revision = 0
        self.aliases: dict[str, Alias] = {}
        self.keys: dict[bytes, KeyEntry] = {}
        self.compiled = 0

    def commit(self, name: str = "fast", model: str | None = None) -> int:
        """Point an alias at a model (one named like the revision by default)."""
        self.revision += 1
        target = Target(id=f"t-{name}", provider="p1", model=model or f"model-{self.revision}")
        self.aliases[name] = Alias(id=f"a-{name}", name=name, targets=(target,))
        return self.revision

    def put_key(self, digest: bytes, *, revoked: bool = False, team: str = "team-1") -> KeyEntry:
        self.keys_revision += 1
        entry = KeyEntry(id=digest.hex()[:8], team=team, revoked=revoked, revision=self.keys_revision)
        self.keys[digest] = entry
        return entry

    async def head(self) -> Head:
        return Head(self.epoch, self.revision, self.keys_revision)

    async def compile_snapshot(self) -> SnapshotDocument:
        self.compiled += 1
        aliases = tuple(self.aliases[name] for name in sorted(self.aliases))
        return SnapshotDocument(
            epoch=self.epoch, revision=self.revision, compiled_at_us=self.revision, aliases=aliases
        )

    async def keys_since(self, keys_revision: int, limit: int) -> KeysDelta:
        changed = [(digest, entry) for digest, entry in self.keys.items() if entry.revision > keys_revision]
        page = sorted(changed, key=lambda pair: pair[1].revision)[:limit]
        return KeysDelta(page[-1][1].revision if page else keys_revision, page)

    def copy(self) -> MemorySource:
        other = MemorySource()
        other.__dict__.update(self.__dict__, aliases=dict(self.aliases), keys=dict(self.keys))
        return other


@pytest.fixture(scope="session")
def valkey(valkeys: Valkeys) -> Valkey:
    return valkeys()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server of the test's own, to be killed and started at will."""
    with Valkeys() as start:
        yield start()


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    with contextlib.closing(connect(valkey.url, deadline=5.0)) as client:
        client.flushall()
        yield client


@pytest.fixture
async def aclient(valkey: Valkey, client: redis.Redis) -> AsyncIterator[redis.asyncio.Redis]:
    """An asyncio client of the emptied server."""
    async with connect_async(valkey.url, deadline=5.0) as aclient:
        yield aclient


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def subscribe(valkey: Valkey) -> Iterator[Callable[..., Subscriber]]:
    """Makes started subscribers of the session's server, closed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def make(url: str = valkey.url, **options: Any) -> Subscriber:
            return stack.enter_context(Subscriber(url, **options))

        yield make


class DeafProxy:
    """Stands before a server and, once told so, loses every message of its Pub/Sub."""

    def __init__(self, target: str, folder: Path) -> None:
        self.url = f"unix://{folder}/proxy"
        self.deaf = False
        self.lost = 0
        self._target = target
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/proxy")
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.deaf and data.startswith(b"*3\r\n$7\r\nmessage"):
                    self.lost += 1
                    continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(valkey: Valkey) -> Iterator[DeafProxy]:
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        proxy = DeafProxy(str(valkey.socket), Path(folder))
        yield proxy
        proxy.close()


def model_of(subscriber: Subscriber, name: str = "fast") -> str:
    """Return what an alias points at, as a caller sees it."""
    alias = subscriber.snapshot().alias(name, "team-1")
    assert alias is not None
    return alias.targets[0].model


def questions(client: redis.Redis) -> int:
    """Return how many MGETs the server was asked."""
    stats = client.info("commandstats").get("cmdstat_mget", {"calls": 0})
    return int(stats["calls"])


class Helpers:
    """The functions of this file, since test modules cannot import one another."""

    eventually = staticmethod(eventually)
    model_of = staticmethod(model_of)
    questions = staticmethod(questions)


@pytest.fixture
def helpers() -> type[Helpers]:
    return Helpers


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
