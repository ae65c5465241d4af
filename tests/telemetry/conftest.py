"""Engines and facts for the telemetry tests: a real Postgres, and a Valkey that a test may kill."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
import redis.exceptions

from mesh_store.embedded import attach
from mesh_store.model.facts import Done, Fact, Intent, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.postgres.database import Database
from mesh_store.telemetry import Recorder
from tests.blank_fact import BLANK
from tests.servers_under_test import server_binary

_numbers = itertools.count()
LIMIT = Limit(amount=1000, period_us=60_000_000)


class Valkey:
    """A server of the test's own on a unix socket, without persistence."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "v"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis.from_url(self.url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": str(self.directory),
        } | {name.replace("_", "-"): value for name, value in settings.items()}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [server_binary(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._answers, "the server answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with suppress(redis.exceptions.ConnectionError, OSError):
            return bool(self.client.ping())
        return False


class Settled:
    """A settler that keeps what it was told; ``failing`` is raised while it is set."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, tuple[int, ...]]] = []
        self.cancelled: list[str] = []
        self.renewed: list[str] = []
        self.failing: Exception | None = None

    def settle_all(self, settlements: Any) -> None:
        if self.failing is not None:
            raise self.failing
        self.settled += [(reservation.id, tuple(deltas)) for reservation, deltas in settlements]

    def cancel(self, reservation_id: str, charges: Any) -> None:
        if self.failing is not None:
            raise self.failing
        self.cancelled.append(reservation_id)

    def renew(self, reservations: Any) -> None:
        if self.failing is not None:
            raise self.failing
        self.renewed += [reservation.id for reservation in reservations]


def eventually(true: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"it never came to pass that {what}"
        time.sleep(0.01)


def make_fact(**fields: Any) -> Fact:
    given: dict[str, Any] = {
        "id": new_id(),
        "call_id": new_id(),
        "attempt": 1,
        "started_at_us": now_us(),
        "duration_us": 1_500_000,
        "outcome": "ok",
        "operation": "chat",
        "host": "direct",
        "team_id": "018f0000-0000-7000-8000-000000000001",
        "key_id": "abcdefgh",
        "alias": "fast",
        "revision": 7,
        "provider": "openai",
        "request_model": "gpt-5-mini",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_pico_usd": 65_000_000,
    }
    return Fact(**BLANK | given | fields)


def make_reservation(amount: int = 10) -> Reservation:
    charges = (Charge("{t1}:q:team:t1:tokens", LIMIT, amount),)
    return Reservation(new_id(), charges, now_us(), now_us() + 600_000_000)


def make_call(actual: int = 4, **fields: Any) -> tuple[Intent, Done]:
    """What a call writes: its intent, and how it ended."""
    reservation = make_reservation()
    lost = make_fact(**fields | {"outcome": "lost", "estimated": True, "reservation_id": reservation.id})
    fact = make_fact(call_id=lost.call_id, reservation_id=reservation.id, **fields)
    intent = Intent(lost, reservation, now_us() + 60_000_000)
    return intent, Done(fact, Settlement(reservation, (actual,)), lost.id)


class Kit:
    """What tests build with."""

    eventually = staticmethod(eventually)
    fact = staticmethod(make_fact)
    reservation = staticmethod(make_reservation)
    call = staticmethod(make_call)


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture
def settled() -> Settled:
    return Settled()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    directory = Path(tempfile.mkdtemp(prefix="mesh-t-"))
    server = Valkey(directory)
    server.start()
    yield server
    server.client.close()
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def make_recorder(tmp_path: Path, valkey: Valkey, settled: Settled) -> Iterator[Callable[..., Recorder]]:
    """Make recorders under one home; they are closed at the end."""
    made: list[Recorder] = []

    def make(home: Path | None = tmp_path, **options: Any) -> Recorder:
        recorder = Recorder(home, valkey.url, **{"settler": settled, "ring_bytes": 1024 * 1024} | options)
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.close(0.1)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """The embedded Postgres, with a migrated database to copy."""
    home = Path(tempfile.mkdtemp(prefix="mesh-t-"))
    with attach(home) as engines:

        async def prepare() -> None:
            # Durability is Postgres' own promise and not what these tests are about.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                await _admin(engines.dsn, f"ALTER SYSTEM SET {setting} = off")
            await _admin(engines.dsn, "SELECT pg_reload_conf()")
            await _admin(engines.dsn, "CREATE DATABASE template_mesh")
            async with Database(_other(engines.dsn, "template_mesh")) as database:
                await database.migrate()

        asyncio.run(prepare())
        yield engines.dsn
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_url(server_dsn: str) -> str:
    asyncio.run(_admin(server_dsn, "CREATE DATABASE shared TEMPLATE template_mesh"))
    return _other(server_dsn, "shared")


@pytest.fixture
async def database_url(shared_url: str) -> str:
    """The URL of a migrated database without usage; its partitions may be there already."""
    for table in ("usage_events", "usage_rollups", "telemetry_dead"):
        await _admin(shared_url, f"DELETE FROM {table}")
    return shared_url


@pytest.fixture
async def fresh_url(server_dsn: str) -> AsyncIterator[str]:
    """The URL of a migrated database that nobody ever used."""
    name = f"test{next(_numbers)}"
    await _admin(server_dsn, f"CREATE DATABASE {name} TEMPLATE template_mesh")
    yield _other(server_dsn, name)
    await _admin(server_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to look with."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def fresh(fresh_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database that nobody ever used."""
    connection = await asyncpg.connect(fresh_url)
    yield connection
    await connection.close()


async def _admin(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _other(dsn: str, database: str) -> str:
    """The same server, another database."""
    before, _, query = dsn.partition("?")
    return f"{before.rpartition('/')[0]}/{database}?{query}"
