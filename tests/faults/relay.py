"""A relay before Postgres, Redis or a provider that can be made to misbehave while it runs.

Listens on a unix socket or a loopback port, forwards to another, and applies what its toxics say to
every piece that passes, in either direction. Runs on a loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Direction = Literal["up", "down"]


@dataclass
class Toxics:
    """What goes wrong; change any of it while connections are open.

    Attributes:
        refuse: new connections are closed at once.
        latency_s: wait before each piece is passed on, both ways.
        jitter_s: up to this much more, drawn per piece.
        black_hole_up: what clients send is swallowed.
        black_hole_down: what the server answers is swallowed: it acts, and nobody hears.
        slice_bytes: pieces are passed on in slices of so many bytes, 0 for whole.
        bytes_per_s: bandwidth of each direction, 0 for unlimited.
        corrupt: share of pieces of which one byte is flipped.
        pieces_left: the server is gone after so many more pieces of any connection, -1 for never.
    """

    refuse: bool = False
    latency_s: float = 0.0
    jitter_s: float = 0.0
    black_hole_up: bool = False
    black_hole_down: bool = False
    slice_bytes: int = 0
    bytes_per_s: int = 0
    corrupt: float = 0.0
    pieces_left: int = -1


class Relay:
    """A relay to ``target``: ``unix:///path`` or ``tcp://host:port``; a context manager.

    Attributes:
        toxics: what goes wrong.
        connections: how many were accepted.
        port: the loopback port to connect to instead of the target, for whom a socket's path is no address.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        self.toxics = Toxics()
        self.connections = self.port = 0
        self._target = urlsplit(target)
        self._random = random.Random(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-relay-")
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    @classmethod
    def to_redis(cls, url: str, **options: Any) -> Self:
        """Make a relay to a redis-py ``unix://`` or ``redis://`` URL."""
        parts = urlsplit(url)
        return cls(f"unix://{parts.path}" if parts.scheme == "unix" else f"tcp://{parts.netloc}", **options)

    @classmethod
    def to_postgres(cls, database_url: str, **options: Any) -> Self:
        """Make a relay to a SQLAlchemy URL of embedded Postgres."""
        query = parse_qs(urlsplit(database_url).query)
        return cls(f"unix://{query['host'][0]}/.s.PGSQL.{query.get('port', ['5432'])[0]}", **options)

    @property
    def path(self) -> Path:
        """The unix socket to connect to instead of the target."""
        return Path(self._folder.name) / "s"

    @property
    def redis_url(self) -> str:
        """The same, for redis-py."""
        return f"unix://{self.path}?db=0"

    def postgres_url(self, database_url: str) -> str:
        """Return a SQLAlchemy URL of embedded Postgres that goes through this relay.

        Postgres looks for ``.s.PGSQL.<port>`` in the host's folder, which the relay also listens on.
        """
        port = parse_qs(urlsplit(database_url).query).get("port", ["5432"])[0]
        link = self.path.with_name(f".s.PGSQL.{port}")
        if not link.exists():
            link.symlink_to(self.path)
        return f"{database_url.split('?', maxsplit=1)[0]}?host={self.path.parent}&port={port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._folder.cleanup()

    def reset(self) -> None:
        """Break every open connection, as a crash of the other side would."""
        self._run(self._reset)

    def _run(self, what: Callable[[], Awaitable[None]]) -> None:
        async def through() -> None:
            await what()

        asyncio.run_coroutine_threadsafe(through(), self._loop).result(10)

    async def _listen(self) -> None:
        on_loopback = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = on_loopback.sockets[0].getsockname()[1]
        self._servers = [on_loopback, await asyncio.start_unix_server(self._accept, self.path)]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self.toxics.refuse = True  # who is only being accepted
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._reset()
            for task in self._pumps:
                task.cancel()
            await asyncio.wait(others, timeout=0.05)
        await asyncio.sleep(0)  # what was aborted closes its socket in the next turn

    async def _reset(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            if not self.toxics.refuse:
                await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()
            self._pumps.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target.scheme == "unix":
            far_reader, far_writer = await asyncio.open_unix_connection(self._target.path)
        else:
            far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._open |= {writer, far_writer}
        try:
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer, "up")),
                asyncio.create_task(self._pump(far_reader, writer, "down")),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._open -= {writer, far_writer}
            far_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 16):
                toxics = self.toxics
                if toxics.latency_s or toxics.jitter_s:
                    await asyncio.sleep(toxics.latency_s + self._random.uniform(0, toxics.jitter_s))
                if toxics.black_hole_up if direction == "up" else toxics.black_hole_down:
                    continue
                if toxics.pieces_left == 0:
                    toxics.refuse = True
                    await self._reset()
                    return
                toxics.pieces_left -= 1
                await self._pass_on(writer, self._spoilt(piece))

    def _spoilt(self, piece: bytes) -> bytes:
        if not self.toxics.corrupt or self._random.random() >= self.toxics.corrupt:
            return piece
        spoilt = bytearray(piece)
        spoilt[self._random.randrange(len(spoilt))] ^= 1 << self._random.randrange(8)
        return bytes(spoilt)

    async def _pass_on(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        step = self.toxics.slice_bytes or len(piece)
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            writer.write(part)
            await writer.drain()
            if self.toxics.bytes_per_s:
                await asyncio.sleep(len(part) / self.toxics.bytes_per_s)
