"""Engines that cost little: one Postgres for all tests of a process, Redis servers that start in a moment.

Making a cluster and migrating it takes two seconds of processor; copying a migrated database a tenth of one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import asyncpg
import redis

from mesh_store.admin import Admin
from mesh_store.model.signing import Signer
from mesh_store.postgres import Database
from tests.servers_under_test import server_binary

TEMPLATE = "template_mesh"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Engines:
    """A migrated database of one's own and a Redis, named as `mesh_store.embedded.attach` names them.

    Attributes:
        home: where the Postgres that many share keeps everything.
        database_url: for SQLAlchemy over asyncpg.
        dsn: for asyncpg.
        redis_url: for redis-py.
    """

    home: Path
    database_url: str
    dsn: str
    redis_url: str


class Cluster:
    """A Postgres whose databases are copies of a migrated one.

    Durability is Postgres' own promise and nothing these tests are about; what is, has a home of its own.
    """

    def __init__(self, home: Path, dsn: str) -> None:
        self.home = home
        self._dsn = dsn

    async def prepare(self) -> None:
        """Let databases be copied at the speed of memory, and make the one to copy."""
        for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
            await self.administer(f"ALTER SYSTEM SET {setting} = off")
        await self.administer("SELECT pg_reload_conf()")
        await self.administer(f"CREATE DATABASE {TEMPLATE}")
        async with Database(self.url(TEMPLATE)) as database:
            await database.migrate()

    def dsn(self, name: str) -> str:
        """For asyncpg, to the database with this name."""
        before, _, query = self._dsn.partition("?")
        return f"{before.rpartition('/')[0]}/{name}?{query}"

    def url(self, name: str) -> str:
        """For SQLAlchemy, to the database with this name."""
        return self.dsn(name).replace("postgresql:", "postgresql+asyncpg:", 1)

    async def administer(self, statement: str) -> None:
        """Run a statement outside of every database that tests use."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def make(self, template: str = TEMPLATE) -> str:
        """Make a database like a migrated one, or like ``template``; returns its name."""
        name = f"test{next(_numbers)}"
        await self.administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def made(self, template: str = TEMPLATE) -> str:
        """`make`, where no event loop runs."""
        return asyncio.run(self.make(template))

    async def drop(self, name: str) -> None:
        """Take a database away, whoever uses it."""
        await self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    def engines(self, redis_url: str) -> Engines:
        """A new database beside a Redis; where no event loop runs."""
        name = self.made()
        return Engines(self.home, self.url(name), self.dsn(name), redis_url)


class Operator:
    """Somebody who makes changes all day: one connection to Postgres and one event loop for all of them."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._runner = asyncio.Runner()
        self._database: Database | None = None
        self._looking: asyncpg.Connection | None = None

    def run(self, redis_url: str, signer: Signer, change: Callable[[Admin], Any]) -> tuple[Any, int]:
        """Make a change and publish it; returns what it returned, and the revision or 0."""

        async def through() -> tuple[Any, int]:
            if self._database is None:
                self._database = await Database(self._database_url).__aenter__()
            admin = Admin(self._database, redis_url, actor="tests", signer=signer)
            try:
                result = await change(admin)
                assert admin.unpublished is None
                return result, 0 if admin.published is None else admin.published.revision
            finally:
                await admin.aclose()

        return self._runner.run(through())

    def query(self, sql: str, *arguments: Any) -> list[Any]:
        """Ask Postgres."""

        async def ask() -> list[Any]:
            if self._looking is None or self._looking.is_closed():
                self._looking = await asyncpg.connect(self._database_url.replace("+asyncpg", ""))
            return list(await self._looking.fetch(sql, *arguments))

        return self._runner.run(ask())

    def close(self) -> None:
        """Give both connections back."""

        async def end() -> None:
            if self._database is not None:
                await self._database.__aexit__(None, None, None)
            if self._looking is not None:
                await self._looking.close()

        self._runner.run(end())
        self._runner.close()


class Valkey:
    """A server of the tests' own on a unix socket, keeping nothing; ended by its process id.

    Attributes:
        folder, socket, url: where it is.
        client: to look with; patient, since machines are busy.
        process: the server, while it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis.from_url(self.url)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        """Start it, again on the same socket if it was killed; returns once it answers."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "enable-debug-command": "yes",
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen(
            [server_binary(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._answers()

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with suppress(redis.ConnectionError):
                self.client.ping()
                return
            assert self.process is not None
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)


class Valkeys:
    """Starts servers, and ends them all at the end; a context manager."""

    def __init__(self) -> None:
        # A short path: sockets lie in it.
        self._folder = Path(tempfile.mkdtemp(prefix="mesh-v-"))
        self._all: list[Valkey] = []

    def __call__(self, **settings: str) -> Valkey:
        """Start a server, with settings besides the usual: ``maxmemory="10mb"``."""
        folder = self._folder / str(len(self._all))
        folder.mkdir()
        self._all.append(server := Valkey(folder))
        server.start(**settings)
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._all:
            server.client.close()
            server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
