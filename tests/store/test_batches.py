"""Several changes are one batch: one transaction, one revision, all or none."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_store.model.errors import Conflict, NotFound, Rejected
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository


@pytest.mark.parametrize(("name", "refusal"), [("research", Conflict), ("Research", Rejected)])
@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_failed_step_ends_its_batch(
    repo: Repository, database: Database, name: str, refusal: type[Exception], goes_on: bool
) -> None:
    async def carry_on() -> None:
        async with repo.batch() as batch:
            await batch.create_team(name="research")
            with pytest.raises(NotFound):
                await batch.get_team("other")
            with pytest.raises(refusal):
                await batch.create_team(name=name)
            if goes_on:
                await batch.create_team(name="other")

    with pytest.raises(Conflict, match="failed already"):
        await carry_on()
    assert (await database.head()).revision == 0


async def test_after_a_commit_its_revision_is_told(database: Database) -> None:
    told: list[int] = []

    async def listen(head: Any) -> None:
        told.append(head.revision)

    repo = Repository(database, actor="ops", after_commit=listen)
    await repo.create_team(name="research")
    await repo.get_team("research")
    await repo.update_team("research", description="")
    async with repo.batch() as batch:
        await batch.create_user(name="ada")
        await batch.create_user(name="bob")
    assert told == [1, 2]


async def test_a_batch_may_make_a_whole_team_in_any_order_of_things(
    repo: Repository, database: Database
) -> None:
    async with repo.batch() as batch:
        await batch.create_user(name="ada")
        await batch.create_team(name="research")
        await batch.add_member(team="research", user="ada")
        await batch.create_provider(name="openai", kind="openai")
        target = {"provider": "openai", "model": "gpt-5"}
        alias = await batch.create_alias(name="fast", grants=["research"], targets=[target])
        key, _ = await batch.create_key(
            team="research", user="ada", aliases=["fast"], limits=["5 requests/min"]
        )
        limit = await batch.create_limit(team="research", alias="fast", limit="60 requests/min")
        await batch.update_team("research", description="made a moment ago")
        await batch.update_alias("fast", name="faster")
        assert (await batch.get_key(key.id)) == key
    assert (await database.head()).revision == (await database.head()).keys_revision == 1
    assert await repo.get_key(key.id) == key
    assert (await repo.get_limit(limit.id)).alias == "faster"
    assert (await repo.get_alias("faster")).targets == alias.targets
    assert len(await repo.list_limits(key=key.id)) == 1
