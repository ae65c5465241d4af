"""Real engines for the store's tests: one pair a session, one copied database a test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from mesh_store.embedded import Engines, attach
from mesh_store.model.keys import MintedKey
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository

_numbers = itertools.count()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Postgres and Valkey of this session's own."""
    with attach(tmp_path_factory.mktemp("engines"), linger=0.1) as engines:
        asyncio.run(forget_durability(engines))
        yield engines


def url_of(engines: Engines, name: str) -> str:
    return make_url(engines.database_url).set(database=name).render_as_string(hide_password=False)


async def forget_durability(engines: Engines) -> None:
    """Let these throw-away databases be copied at the speed of memory."""
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
        await administer(engines, f"ALTER SYSTEM SET {setting} = off")
    await administer(engines, "SELECT pg_reload_conf()")


async def administer(engines: Engines, statement: str) -> None:
    connection = await asyncpg.connect(engines.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def empty_url(engines: Engines) -> AsyncIterator[str]:
    """The URL of a database with nothing in it."""
    name = f"empty{next(_numbers)}"
    await administer(engines, f"CREATE DATABASE {name}")
    yield url_of(engines, name)
    await administer(engines, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def template(engines: Engines) -> str:
    """A migrated database that tests copy, which is far cheaper than migrating."""

    async def make() -> None:
        await administer(engines, "CREATE DATABASE template_mesh")
        async with Database(url_of(engines, "template_mesh")) as database:
            await database.migrate()

    asyncio.run(make())
    return "template_mesh"


@pytest.fixture
async def own_url(engines: Engines, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database of this test's own, for tests that bend the schema."""
    name = f"own{next(_numbers)}"
    await administer(engines, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url_of(engines, name)
    await administer(engines, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def shared_url(engines: Engines, template: str) -> str:
    asyncio.run(administer(engines, f"CREATE DATABASE shared TEMPLATE {template}"))
    return url_of(engines, "shared")


@pytest.fixture
async def url(shared_url: str) -> str:
    """The URL of a migrated database as empty as a new one; emptying takes 20 ms, copying seconds."""
    connection = await asyncpg.connect(shared_url.replace("+asyncpg", ""))
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
    return shared_url


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
