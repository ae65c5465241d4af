"""A migrated database, empty for every test, and a way to apply text to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from mesh_store.admin import manifest
from mesh_store.admin.manifest import Plan
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository
from tests.engines import Cluster, Engines, Valkeys

#: The replica role passes over the triggers that keep the audit log and keys from being emptied.
EMPTY = """
SET session_replication_role = replica;
DO $$ BEGIN EXECUTE (
  SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables
  WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'revisions')
    AND tablename !~ '^(usage|budget|adjustments|telemetry)'
); END $$;
UPDATE revisions SET revision = 0, keys_revision = 0;
"""


@pytest.fixture(scope="session")
def engines(postgres_cluster: Cluster, valkeys: Valkeys) -> Engines:
    """A database and a Valkey of these tests' own."""
    return postgres_cluster.engines(valkeys().url)


@dataclass
class Ground:
    """A database and what an operator with a file does to it."""

    repo: Repository
    url: str

    async def empty(self) -> None:
        connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        await connection.execute(EMPTY)
        await connection.close()

    async def plan(self, text: str, **options: Any) -> Plan:
        return await manifest.plan(self.repo, *manifest.parse(text, "mesh.yaml"), **options)

    async def apply(self, text: str, **options: Any) -> Plan:
        return await manifest.apply(self.repo, *manifest.parse(text, "mesh.yaml"), **options)

    async def export(self, **options: Any) -> str:
        return manifest.export(await manifest.read_settled(self.repo), **options)

    async def revision(self) -> int:
        return (await self.repo.database.head()).revision

    async def limits(self) -> dict[str, str]:
        """Text of every live limit by ``label``; one of them a label."""
        return {each.label: each.limit for each in await self.repo.list_limits(limit=1000)}

    async def audit(self) -> list[str]:
        return [f"{each.action} {each.entity_name}" for each in await self.repo.list_audit(limit=1000)]


@pytest.fixture(scope="session")
def empty() -> str:
    """The statement that empties a database."""
    return EMPTY


@pytest.fixture(scope="session")
def urls(postgres_cluster: Cluster) -> list[str]:
    """Two databases: one to export from, one to apply to."""
    return [postgres_cluster.url(postgres_cluster.made()) for _ in range(2)]


async def _ground(url: str) -> AsyncIterator[Ground]:
    async with Database(url) as database:
        ground = Ground(Repository(database, actor="ops@example.com"), url)
        await ground.empty()
        yield ground


@pytest.fixture
async def ground(urls: list[str]) -> AsyncIterator[Ground]:
    async for each in _ground(urls[0]):
        yield each


@pytest.fixture
async def other(urls: list[str]) -> AsyncIterator[Ground]:
    async for each in _ground(urls[1]):
        yield each
