"""A repository over a migrated database of the test's own, and facts in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from mesh_store.model.facts import Fact
from mesh_store.model.ids import new_id
from mesh_store.postgres import Database, usage_partitions, usage_write
from mesh_store.postgres.repository import Repository
from tests.blank_fact import BLANK
from tests.engines import Cluster

TEAM = "018f0000-0000-7000-8000-000000000001"


@pytest.fixture
async def database(postgres_cluster: Cluster) -> AsyncIterator[Database]:
    name = await postgres_cluster.make()
    async with Database(postgres_cluster.url(name)) as database:
        yield database
    await postgres_cluster.drop(name)


@pytest.fixture
async def repo(database: Database) -> Repository:
    repo = Repository(database, actor="ops@example.com")
    await repo.create_provider(name="local", kind="openai", base_url="http://127.0.0.1:8080/v1")
    return repo


class Facts:
    """Writes facts as a collector does."""

    def __init__(self, connection: Any, provider_id: str) -> None:
        self.connection, self.provider_id = connection, provider_id

    async def write(self, at: datetime | None = None, **fields: Any) -> str:
        at = at or datetime.now(UTC)
        given: dict[str, Any] = {
            "id": new_id(),
            "call_id": new_id(),
            "attempt": 1,
            "started_at_us": round(at.timestamp() * 1_000_000),
            "outcome": "ok",
            "operation": "chat",
            "host": "direct",
            "team_id": TEAM,
            "key_id": "abcdefgh",
            "alias": "fast",
            "revision": 7,
            "provider_id": self.provider_id,
            "provider": "local",
            "request_model": "small",
            "input_tokens": 1_000,
            "output_tokens": 100,
        }
        fact = Fact(**BLANK | given | fields)
        async with self.connection.transaction():
            await usage_write.write(self.connection, [fact])
        return fact.id

    async def adjustments(self) -> list[Any]:
        return list(await self.connection.fetch("SELECT * FROM adjustments ORDER BY id"))


@pytest.fixture
async def facts(database: Database, repo: Repository) -> AsyncIterator[Facts]:
    connection = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(False))
    await usage_write.prepare(connection)
    await usage_partitions.ensure(connection, datetime.now(UTC).date())
    yield Facts(connection, (await repo.get_provider("local")).id)
    await connection.close()
