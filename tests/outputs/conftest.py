"""Engines with a telemetry server apart from the limits', facts on their way, and the `mesh` command."""

from __future__ import annotations

import asyncio
import http.server
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from typer.testing import CliRunner

from mesh_plugins.cli.app import build
from mesh_store.admin import Admin
from mesh_store.model.facts import Fact
from mesh_store.model.ids import new_id, now_us
from mesh_store.redis.stream import Batch, FactStream
from mesh_store.telemetry import records
from tests.blank_fact import BLANK
from tests.engines import Cluster, Engines, Valkeys

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def output_engines(postgres_cluster: Cluster, valkeys: Valkeys) -> Engines:
    return postgres_cluster.engines(valkeys().url)


@pytest.fixture(scope="session")
def facts_url(valkeys: Valkeys) -> str:
    """A second server, for facts alone."""
    return valkeys().url


@dataclass
class Place:
    """One team on shared engines.

    Attributes:
        team, team_id: whose calls these are.
    """

    engines: Engines
    facts_url: str
    home: Path
    team: str
    team_id: str = ""

    def admin(self, work: Callable[[Admin], Any]) -> Any:
        async def run() -> Any:
            async with Admin.open(self.engines.database_url, self.engines.redis_url, actor="tests") as admin:
                return await work(admin)

        return asyncio.run(run())

    def query(self, sql: str, *arguments: Any) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.engines.dsn)
            try:
                return list(await connection.fetch(sql, *arguments))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def fact(self, **fields: Any) -> Fact:
        given: dict[str, Any] = {
            "id": new_id(),
            "call_id": new_id(),
            "attempt": 1,
            "started_at_us": now_us(),
            "duration_us": 1_500_000,
            "outcome": "ok",
            "operation": "chat",
            "host": "direct",
            "team_id": self.team_id,
            "key_id": "abcdefgh",
            "alias": "fast",
            "revision": 7,
            "provider_id": "018f0000-0000-7000-8000-00000000000a",
            "provider": "openai",
            "request_model": "gpt-5-mini",
            "input_tokens": 1_000,
            "output_tokens": 200,
            "cost_pico_usd": 650_000_000,
        }
        return Fact(**BLANK | given | fields)

    def send(self, *facts: Fact, money: bytes = b"") -> None:
        """Put facts into the stream, as a shipper does."""
        number = next(_numbers)
        body = records.join([records.encode(fact) for fact in facts])
        client = redis.Redis.from_url(self.facts_url)
        FactStream(client).add(Batch("ring", 1, number, number + 1, len(facts), body, money))
        client.close()

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        return inherited | {
            "MESH_DATABASE_URL": self.engines.database_url,
            "MESH_REDIS_URL": self.engines.redis_url,
            "MESH_TELEMETRY_REDIS_URL": self.facts_url,
            "MESH_HOME": str(self.home),
            "COLUMNS": "160",
        }

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(build(arguments[0]), arguments, env=self.environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def __call__(self, *arguments: str) -> str:
        return str(self.run(*arguments).stdout)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def place(output_engines: Engines, facts_url: str, tmp_path: Path) -> Place:
    made = Place(output_engines, facts_url, tmp_path, f"team{next(_numbers)}")
    made.team_id = made.admin(lambda admin: admin.create_team(name=made.team)).id
    return made


@pytest.fixture
def hook() -> Iterator[Any]:
    """A webhook that keeps what it is told; ``answers`` are its next status codes."""
    told: list[Any] = []
    answers: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = answers.pop(0) if answers else 204
            if status < 300:
                told.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told, answers
    server.shutdown()
    server.server_close()
    thread.join()
