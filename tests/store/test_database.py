"""Connections: time limits, errors that help, and the mode behind a transaction pooler."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url, text

from mesh_store.model.errors import ConfigError, DatabaseUnavailable
from mesh_store.postgres import Database
from mesh_store.postgres.compile import compile_snapshot
from mesh_store.postgres.repository import Repository


async def test_a_statement_that_takes_too_long_is_given_up(url: str) -> None:
    async with Database(url, statement_timeout=0.05) as database:
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            async with database.connect() as connection:
                await connection.execute(text("SELECT pg_sleep(10)"))
        assert (await database.head()).revision == 0


async def test_a_server_that_is_away_is_named_without_its_password(tmp_path: object) -> None:
    async with Database(f"postgresql://ada:canary@/mesh?host={tmp_path}") as database:
        with pytest.raises(DatabaseUnavailable, match="MESH_DATABASE_URL") as refused:
            await database.head()
    assert "canary" not in str(refused.value)
    assert "canary" not in repr(database)


async def test_a_database_that_does_not_exist_is_a_matter_of_configuration(url: str) -> None:
    async with Database(make_url(url).set(database="nothere").render_as_string(False)) as database:
        with pytest.raises(ConfigError, match="nothere"):
            await database.head()


async def test_an_error_of_the_callers_own_inside_a_transaction_stays_what_it_is(database: Database) -> None:
    with pytest.raises(FileNotFoundError):
        async with database.begin():
            raise FileNotFoundError


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql+psycopg://x/y", "nonsense", ""])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(url)


async def test_behind_a_transaction_pooler_nothing_outlives_its_transaction(url: str) -> None:
    async with Database(url, pooler=True, statement_timeout=7) as database:
        repo = Repository(database, actor="ops")
        await repo.create_team(name="research")
        assert (await compile_snapshot(database)).teams[0].name == "research"
        async with database.begin() as session:
            assert (await session.execute(text("SHOW statement_timeout"))).scalar() == "7s"
            held = await session.execute(text("SELECT count(*) FROM pg_prepared_statements"))
            assert held.scalar() <= 1  # the one being run


async def test_a_snapshot_is_read_in_one_view_that_cannot_write(database: Database) -> None:
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    async with database.connect(**options) as connection:
        assert (await connection.execute(text("SHOW transaction_isolation"))).scalar() == "repeatable read"
        assert (await connection.execute(text("SHOW transaction_read_only"))).scalar() == "on"


async def test_a_new_epoch_sorts_after_the_old_one(database: Database) -> None:
    before = await database.head()
    after = await database.start_epoch()
    assert after.epoch > before.epoch
    assert (after.revision, after.keys_revision) == (before.revision, before.keys_revision)
