"""Databases for the store's tests: a migrated one that is emptied, or one that a test may bend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from mesh_store.model.keys import MintedKey
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository
from tests.engines import Cluster, Engines, Valkeys


@pytest.fixture(scope="session")
def engines(postgres_cluster: Cluster, valkeys: Valkeys) -> Engines:
    """A database and a Valkey of these tests' own."""
    return postgres_cluster.engines(valkeys().url)


@pytest.fixture
async def empty_url(postgres_cluster: Cluster) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    name = await postgres_cluster.make(template="template0")
    yield postgres_cluster.url(name)
    await postgres_cluster.drop(name)


@pytest.fixture
async def own_url(postgres_cluster: Cluster) -> AsyncIterator[str]:
    """The URL of a migrated database of this test's own, for tests that bend the schema."""
    name = await postgres_cluster.make()
    yield postgres_cluster.url(name)
    await postgres_cluster.drop(name)


@pytest.fixture
async def url(engines: Engines) -> str:
    """The URL of a migrated database as empty as a new one; emptying takes 20 ms, copying ten times that."""
    connection = await asyncpg.connect(engines.dsn)
    # The replica role passes over the triggers that keep the audit log and keys from being emptied.
    await connection.execute(
        """
        SET session_replication_role = replica;
        DO $$ BEGIN EXECUTE (
          SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables
          WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'revisions')
            AND tablename !~ '^(usage|budget|adjustments|telemetry)'  -- written by other tests
        ); END $$;
        UPDATE revisions SET revision = 0, keys_revision = 0;
        """
    )
    await connection.close()
    return engines.database_url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as database:
        yield database


@pytest.fixture
def repo(database: Database) -> Repository:
    return Repository(database, actor="ops@example.com")


@pytest.fixture
async def sql(database: Database) -> AsyncIterator[Callable[..., Awaitable[list[Any]]]]:
    """Run a statement as somebody with psql would: past the repository, with the database's rules."""
    connection = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(False))

    async def run(statement: str, *arguments: Any) -> list[Any]:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]

    yield run
    await connection.close()


@pytest.fixture
async def own_database(own_url: str) -> AsyncIterator[Database]:
    async with Database(own_url) as database:
        yield database


@pytest.fixture
async def research(repo: Repository) -> MintedKey:
    """A team with a member, a provider, an alias of two targets, and the member's key."""
    async with repo.batch() as batch:
        await batch.create_team(name="research")
        await batch.create_user(name="ada@example.com")
        await batch.add_member(team="research", user="ada@example.com")
        await batch.create_provider(name="openai", kind="openai", secret="env:OPENAI_API_KEY")
        targets = [
            {"provider": "openai", "model": "gpt-5-mini"},
            {"provider": "openai", "model": "gpt-5", "tier": 2},
        ]
        await batch.create_alias(name="fast", targets=targets)
        _, minted = await batch.create_key(team="research", user="ada@example.com")
    return minted
