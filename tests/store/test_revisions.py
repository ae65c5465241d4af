"""The order of changes: no gaps, commit order, whoever made the change, and told to whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from mesh_store.model.errors import Conflict, Rejected
from mesh_store.model.keys import MintedKey
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository

Sql = Callable[..., Awaitable[list[Any]]]


async def test_every_change_is_entity_audit_change_and_revision_at_once(
    repo: Repository, database: Database, sql: Sql
) -> None:
    team = await repo.create_team(name="research")
    assert (await database.head()).revision == 1
    assert await sql("SELECT stream, revision, kind, entity_id, action FROM changes") == [
        ("config", 1, "team", team.id, "insert")
    ]
    (entry,) = await repo.list_audit()
    assert (entry.actor, entry.action, entry.revision) == ("ops@example.com", "team.create", 1)
    assert entry.before is None
    assert entry.after is not None
    assert entry.after["name"] == "research"


async def test_revisions_have_no_gaps_with_many_writers_some_of_whom_fail(
    database: Database, sql: Sql
) -> None:
    async def write(writer: int) -> None:
        repo = Repository(database, actor=f"writer-{writer}")
        for number in range(8):
            await repo.create_team(name=f"team-{writer}-{number}")
            with pytest.raises(Conflict):
                await repo.create_team(name=f"team-{writer}-{number}")

    await asyncio.gather(*(write(writer) for writer in range(6)))
    seen = await sql("SELECT revision FROM changes WHERE stream = 'config' ORDER BY id")
    assert sorted(revision for (revision,) in seen) == list(range(1, 49))
    assert (await database.head()).revision == 48


async def test_whoever_sees_a_revision_sees_every_change_up_to_it(database: Database, url: str) -> None:
    done = asyncio.Event()

    async def watch() -> int:
        reader = await asyncpg.connect(url.replace("+asyncpg", ""))
        looks = 0
        while not done.is_set():
            # One statement, one view: a gap would show as fewer changes than the head says.
            row = await reader.fetchrow(
                "SELECT (SELECT revision FROM revisions),"
                " (SELECT count(DISTINCT revision) FROM changes WHERE stream = 'config')"
            )
            assert row[0] == row[1]
            looks += 1
        await reader.close()
        return looks

    async def write(writer: int) -> None:
        repo = Repository(database, actor="ops")
        for number in range(10):
            await repo.create_user(name=f"user-{writer}-{number}")

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(writer) for writer in range(4)))
    done.set()
    assert await watching > 10


async def test_one_transaction_is_one_revision_whatever_it_changes(
    repo: Repository, database: Database, sql: Sql
) -> None:
    async with repo.batch() as batch:
        await batch.create_provider(name="openai", kind="openai")
        await batch.create_alias(name="fast", targets=[{"provider": "openai", "model": "gpt-5-mini"}])
        await batch.create_limit(alias="fast", limit="60 requests/min")
    assert (await database.head()).revision == 1
    assert {kind for (kind,) in await sql("SELECT kind FROM changes")} == {
        "provider",
        "alias",
        "target",
        "limit",
    }
    assert [entry.action for entry in await repo.list_audit()] == [
        "limit.create",
        "alias.create",
        "provider.create",
    ]


async def test_a_batch_that_fails_leaves_nothing(repo: Repository, database: Database, sql: Sql) -> None:
    with pytest.raises(Rejected):
        async with repo.batch() as batch:
            await batch.create_team(name="research")
            await batch.create_team(name="Research")
    assert (await database.head()).revision == 0
    assert await sql("SELECT 1 FROM teams UNION ALL SELECT 1 FROM audit_log") == []


async def test_a_batch_holds_when_the_configuration_went_on(repo: Repository, database: Database) -> None:
    planned_at = (await database.head()).revision
    await Repository(database, actor="bob").create_team(name="bobs")
    with pytest.raises(Conflict, match=r"revision 1, not at 0 any more; changed by bob \(1\)"):
        async with repo.batch(expected_revision=planned_at) as batch:
            await batch.create_team(name="research")
    async with repo.batch(expected_revision=1) as batch:
        await batch.create_team(name="research")


async def test_a_change_made_with_psql_is_ordered_and_told_like_any_other(
    research: MintedKey, database: Database, sql: Sql
) -> None:
    before = await database.head()
    await sql("UPDATE targets SET weight = 5 WHERE model = 'gpt-5'")
    await sql("UPDATE keys SET revoked_at = now() WHERE id = $1", research.id)
    after = await database.head()
    assert (after.revision, after.keys_revision) == (before.revision + 1, before.keys_revision + 1)
    assert await sql("SELECT keys_revision, revision FROM keys") == [(after.keys_revision, 2)]


async def test_a_session_cannot_pretend_to_have_a_revision(sql: Sql, database: Database) -> None:
    await sql("SELECT set_config('mesh.config_revision', '77:77', false)")
    await sql("INSERT INTO teams (id, name) VALUES (gen_random_uuid(), 'sly')")
    assert (await database.head()).revision == 1


async def test_commits_are_told_to_whoever_listens(repo: Repository, url: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(url.replace("+asyncpg", ""))
    await listener.add_listener("mesh_revision", lambda *told: heard.put_nowait(told[3]))
    await repo.create_team(name="research")
    await repo.create_key(team="research")
    assert [await asyncio.wait_for(heard.get(), 5) for _ in range(2)] == ["config 1", "keys 1"]
    await listener.close()


async def test_what_changes_nothing_leaves_no_trace(
    repo: Repository, research: MintedKey, database: Database
) -> None:
    before = await database.head()
    await repo.update_team("research", description="")
    alias = await repo.get_alias("fast")
    targets = [target.model_dump(exclude={"id"}) for target in alias.targets]
    assert await repo.update_alias("fast", targets=targets) == alias
    await repo.update_key(research.id, description="")
    assert await database.head() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DELETE FROM key_secrets",
        "DELETE FROM keys",
        "TRUNCATE keys CASCADE",
    ],
)
async def test_history_and_keys_cannot_be_removed(research: MintedKey, sql: Sql, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError):
        await sql(statement)
