"""The schema: made by any number of processes at once, taken down again, and never adrift from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

import mesh_store
from mesh_store.model.errors import ConfigError
from mesh_store.postgres import Database, migrate

MIGRATE = """
import asyncio, sys
from mesh_store.postgres import Database

async def main():
    async with Database(sys.argv[1]) as database:
        await database.migrate()
        print((await database.head()).epoch)

asyncio.run(main())
"""


async def schema(database: Database) -> set[tuple[str, ...]]:
    """Everything a dump would show, functions and triggers included."""
    queries = (
        """SELECT 'column', table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
           FROM information_schema.columns WHERE table_schema = 'public'""",
        """SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
           FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
        "SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        """SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
           FROM pg_trigger WHERE NOT tgisinternal""",
        """SELECT 'function', proname, pg_get_functiondef(oid)
           FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    )
    async with database.connect() as connection:
        return {tuple(row) for query in queries for row in await connection.execute(text(query))}


async def altered(database: Database, statement: str) -> None:
    async with database.begin() as session:
        await session.execute(text(statement))


async def test_the_tables_in_code_are_the_tables_in_the_database(database: Database) -> None:
    assert await migrate.differences(database) == []


async def test_a_column_that_drifted_is_noticed(own_database: Database) -> None:
    await altered(own_database, "ALTER TABLE teams ALTER COLUMN name DROP NOT NULL")
    assert await migrate.differences(own_database)


@pytest.mark.parametrize("processes", [3, pytest.param(8, marks=pytest.mark.full)])
def test_processes_that_start_at_once_make_one_schema(empty_url: str, processes: int) -> None:
    command = [sys.executable, "-c", MIGRATE, empty_url]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(processes)]
    answers = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0] * processes, answers
    assert len({epoch for epoch, _ in answers}) == 1


async def test_every_step_up_goes_down_and_up_again_to_the_same_schema(empty_url: str) -> None:
    versions = sorted(
        path.name[:4] for path in (migrate.migrations_directory() / "versions").glob("[0-9]*.py")
    )
    async with Database(empty_url) as database:
        empty = await schema(database)
        seen = []
        for version in versions:
            await migrate.upgrade(database, version)
            seen.append(await schema(database))
        for version, expected in zip(versions[-2::-1], seen[-2::-1], strict=True):
            await migrate.downgrade(database, version)
            assert await schema(database) == expected
        await migrate.downgrade(database)
        left = {line for line in await schema(database) if "alembic_version" not in line[1]}
        assert left == empty
        await database.migrate()
        assert await schema(database) == seen[-1]


def test_the_newest_revision_is_told_from_file_names_as_alembic_tells_it() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(migrate.config()).get_current_head() == migrate.newest_revision()


async def test_a_database_without_schema_says_to_migrate(empty_url: str) -> None:
    async with Database(empty_url) as database:
        with pytest.raises(ConfigError, match="mesh migrate"):
            await migrate.check(database)


async def test_a_schema_newer_than_the_code_is_left_alone(own_database: Database) -> None:
    await altered(own_database, "UPDATE alembic_version SET version_num = '9999'")
    for attempt in (migrate.check, migrate.upgrade):
        with pytest.raises(ConfigError, match="upgrade mesh-plugins"):
            await attempt(own_database)


def test_a_migrated_database_is_checked_without_importing_alembic(url: str) -> None:
    code = MIGRATE + "\nassert not any(name.startswith('alembic') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True, timeout=240)


async def test_a_role_named_like_a_schema_changes_nothing(own_database: Database) -> None:
    # With "$user" in the search path, role and schema `mesh` would hide every table.
    await altered(own_database, "CREATE SCHEMA mesh")
    assert await migrate.differences(own_database) == []
    assert (await own_database.head()).revision == 0


def test_nothing_newer_than_postgres_14_is_said_to_it() -> None:
    newer = (
        "NULLS NOT DISTINCT",
        "MERGE INTO",
        "uuidv7(",
        "security_invoker",
        "JSON_TABLE",
        "ANY_VALUE",
        "VIRTUAL",
        "REGEXP_SUBSTR",
        "REGEXP_COUNT",
        "JSON_ARRAYAGG",
        "JSON_OBJECTAGG",
        "IS JSON",
        "RANDOM_NORMAL",
        "RETURNING OLD",
        "MERGE_ACTION",
    )
    store = Path(mesh_store.__file__).parent
    for file in (*migrate.migrations_directory().rglob("*.*"), *store.rglob("*.sql")):
        if file.suffix in {".sql", ".py"}:
            written = file.read_text("utf-8").upper()
            assert not [word for word in newer if word.upper() in written], file
