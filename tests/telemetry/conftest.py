"""Engines and facts for the telemetry tests: a real Postgres, and a Valkey that a test may kill."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mesh_store.model.facts import Done, Fact, Intent, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.telemetry import Recorder
from tests.blank_fact import BLANK
from tests.engines import Cluster, Valkey, Valkeys

LIMIT = Limit(amount=1000, period_us=60_000_000)


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
    """A server that a test may kill and start again."""
    with Valkeys() as start:
        yield start()


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
def shared_url(postgres_cluster: Cluster) -> str:
    return postgres_cluster.dsn(postgres_cluster.made())


@pytest.fixture
async def database_url(shared_url: str) -> str:
    """The URL of a migrated database without usage; its partitions may be there already."""
    connection = await asyncpg.connect(shared_url)
    for table in ("usage_events", "usage_rollups", "telemetry_dead"):
        await connection.execute(f"DELETE FROM {table}")
    await connection.close()
    return shared_url


@pytest.fixture
async def fresh_url(postgres_cluster: Cluster) -> AsyncIterator[str]:
    """The URL of a migrated database that nobody ever used."""
    name = await postgres_cluster.make()
    yield postgres_cluster.dsn(name)
    await postgres_cluster.drop(name)


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
