"""A migrated database, empty for every test, and a way to apply text to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from mesh_plugins.cli.app import build
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


#: A command as it is typed; see `mesh`.
Mesh = Callable[..., Result]


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


@pytest.fixture
def mesh(
    engines: Engines, urls: list[str], empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mesh:
    """Run a command in a directory of its own, on an empty database; further names are its environment's."""

    async def empty_it() -> None:
        connection = await asyncpg.connect(urls[0].replace("+asyncpg", ""))
        await connection.execute(empty)
        await connection.close()

    asyncio.run(empty_it())
    monkeypatch.chdir(tmp_path)
    environment = {
        "MESH_DATABASE_URL": urls[0],
        "MESH_REDIS_URL": engines.redis_url,
        "MESH_HOME": str(tmp_path),
    }

    def run(*arguments: str, text: str | None = None, exit_code: int = 0, **more: str) -> Result:
        if text is not None:
            (tmp_path / "mesh.yaml").write_text(text, "utf-8")
        done = CliRunner().invoke(build(arguments[0]), arguments, env=environment | more)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == exit_code, done.output
        return done

    return run
