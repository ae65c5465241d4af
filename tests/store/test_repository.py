"""Teams, users, aliases, limits, prices: made, read in pages, changed by one operator at a time, archived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from mesh_store.model.errors import Conflict, NotFound
from mesh_store.model.keys import MintedKey
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository

Sql = Callable[..., Awaitable[list[Any]]]


async def test_a_name_is_free_again_once_its_owner_is_archived(repo: Repository) -> None:
    first = await repo.create_team(name="research")
    with pytest.raises(Conflict, match="'research'") as refused:
        await repo.create_team(name="research")
    assert refused.value.field == "name"
    await repo.archive_team("research")
    with pytest.raises(NotFound, match="'research'"):
        await repo.get_team("research")
    second = await repo.create_team(name="research")
    assert second.id != first.id
    assert [team.id for team in await repo.list_teams(archived=True)] == sorted([first.id, second.id])


async def test_of_two_who_take_a_name_at_once_one_is_told(repo: Repository) -> None:
    made = await asyncio.gather(
        *(repo.create_team(name="research") for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in made) == ["Conflict"] * 4 + ["TeamEntity"]


async def test_two_operators_cannot_overwrite_each_other(database: Database) -> None:
    ada, bob = Repository(database, actor="ada"), Repository(database, actor="bob")
    seen = await ada.create_team(name="research")
    await bob.update_team("research", expected_revision=seen.revision, description="bob was here")
    with pytest.raises(Conflict, match="at revision 2, not at 1 any more, last changed by bob") as refused:
        await ada.update_team("research", expected_revision=seen.revision, description="ada was here")
    assert refused.value.field == "expected_revision"
    assert (await ada.get_team("research")).description == "bob was here"


async def test_of_many_who_saw_the_same_revision_one_changes_it(repo: Repository) -> None:
    seen = await repo.create_team(name="research")
    changes = (
        repo.update_team("research", expected_revision=seen.revision, description=f"{number}")
        for number in range(6)
    )
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 5
    assert (await repo.get_team("research")).revision == 2


async def test_a_change_made_with_psql_counts_for_expected_revision(repo: Repository, sql: Sql) -> None:
    seen = await repo.create_team(name="research")
    await sql("UPDATE teams SET description = 'by hand'")
    with pytest.raises(Conflict):
        await repo.archive_team("research", expected_revision=seen.revision)


async def test_a_team_may_be_renamed_and_keeps_its_id(research: MintedKey, repo: Repository) -> None:
    team = await repo.get_team("research")
    renamed = await repo.update_team("research", name="lab")
    assert (renamed.id, renamed.revision) == (team.id, team.revision + 1)
    assert (await repo.get_key(research.id)).team == "lab"
    await repo.create_team(name="research")
    with pytest.raises(Conflict):
        await repo.update_team("research", name="lab")


async def test_pages_give_everything_once_in_order(repo: Repository) -> None:
    names = [f"team-{number:02}" for number in range(25)]
    async with repo.batch() as batch:
        for name in reversed(names):
            await batch.create_team(name=name)
    seen: list[str] = []
    after = None
    while True:
        page = await repo.list_teams(after=after, limit=7)
        seen += [team.name for team in page]
        after = page.next
        if after is None:
            break
    assert seen == names


async def test_every_listing_is_paged(research: MintedKey, repo: Repository) -> None:
    async with repo.batch() as batch:
        for number in range(3):
            await batch.create_user(name=f"user-{number}")
            await batch.add_member(team="research", user=f"user-{number}")
            await batch.create_provider(name=f"provider-{number}", kind="openai")
            await batch.create_alias(name=f"alias-{number}")
            await batch.create_limit(team="research", limit=f"{number} requests/{number + 1} min")
            await batch.set_price(provider=f"provider-{number}", model="m", input=1, output=1)
            await batch.create_key(team="research")
    for listing in (
        repo.list_users,
        repo.list_members,
        repo.list_providers,
        repo.list_aliases,
        repo.list_limits,
        repo.list_prices,
        repo.list_keys,
        repo.list_audit,
    ):
        whole, parts, after = (await listing()).items, [], None
        while True:
            page = await listing(after=after, limit=2)
            parts += page.items
            after = page.next
            if after is None:
                break
        assert tuple(parts) == whole, listing
        assert len(whole) >= 3, listing


async def test_a_member_who_left_may_come_back(research: MintedKey, repo: Repository) -> None:
    with pytest.raises(Conflict, match="already"):
        await repo.add_member(team="research", user="ada@example.com")
    await repo.remove_member("research", "ada@example.com")
    assert len(await repo.list_members(team="research")) == 0
    back = await repo.add_member(team="research", user="ada@example.com", role="admin")
    assert [member.role for member in await repo.list_members(team="research")] == [back.role] == ["admin"]
    assert (await repo.get_key(research.id)).revoked_at is not None


async def test_targets_that_stay_keep_their_ids_and_limits(research: MintedKey, repo: Repository) -> None:
    before = await repo.get_alias("fast")
    await repo.create_limit(alias="fast", target="openai/gpt-5", limit="10 requests/min")
    await repo.create_limit(alias="fast", target="openai/gpt-5-mini", limit="10 requests/min")
    mini = {"provider": "openai", "model": "gpt-5-mini", "weight": 9}
    after = await repo.update_alias("fast", targets=[mini])
    assert [target.id for target in after.targets] == [before.targets[0].id]
    assert (after.targets[0].weight, after.revision) == (9, before.revision + 1)
    assert [limit.target for limit in await repo.list_limits()] == ["openai/gpt-5-mini"]
    again = await repo.update_alias(
        "fast", targets=[{"provider": "openai", "model": "gpt-5", "tier": 2}, mini]
    )
    assert [target.id for target in again.targets] == [before.targets[1].id, before.targets[0].id]


async def test_an_alias_keeps_everything_it_was_given(research: MintedKey, repo: Repository) -> None:
    await repo.create_team(name="other")
    fields: dict[str, Any] = {
        "name": "openai/vision.v2",
        "operations": ("embeddings",),
        "grants": ("other", "research"),
        "defaults": {"temperature": 0.2, "stop": ["\n"]},
        "forced": {"user": None, "reasoning": {"effort": "low"}},
        "max_output_tokens": 4096,
        "timeout": 12.5,
        "deprecated": "use vision.v3 from May on",
    }
    target = {
        "provider": "openai",
        "model": "accounts/x/models/y:latest",
        "tier": 3,
        "weight": 0,
        "params": {"seed": 1},
        "max_output_tokens": 100,
        "context_window": 1_000_000,
        "canary": None,
    }
    made = await repo.create_alias(**fields, targets=[target])
    assert made == await repo.get_alias("openai/vision.v2")
    assert made.model_dump(include=set(fields)) == fields
    assert [kept.model_dump(exclude={"id"}) for kept in made.targets] == [target]
    assert (await repo.update_alias("openai/vision.v2", grants=["research", "other"])).revision == 1
    assert (await repo.update_alias("openai/vision.v2", grants=[])).grants == ()
    assert (await repo.update_alias("openai/vision.v2", grants=None)).grants is None


async def test_a_team_may_have_an_alias_of_its_own_under_a_global_name(
    research: MintedKey, repo: Repository
) -> None:
    own = await repo.create_alias(name="fast", team="research", deprecated="soon gone")
    assert (await repo.get_alias("fast")).team is None
    assert await repo.get_alias("fast", team="research") == own
    with pytest.raises(Conflict):
        await repo.create_alias(name="fast", team="research")
    with pytest.raises(Conflict):
        await repo.create_alias(name="fast")
    await repo.update_alias("fast", for_team="research", deprecated=None)
    assert (await repo.archive_alias("fast", team="research")).deprecated is None
    assert (await repo.get_alias("fast")).team is None


async def test_a_provider_in_use_is_not_archived(research: MintedKey, repo: Repository) -> None:
    with pytest.raises(Conflict, match="used by fast"):
        await repo.archive_provider("openai")
    await repo.set_price(provider="openai", model="m", input=1, output=1)
    await repo.archive_alias("fast")
    await repo.archive_provider("openai")
    assert len(await repo.list_prices()) == 0


async def test_a_subject_has_one_limit_of_a_dimension_and_period(
    research: MintedKey, repo: Repository
) -> None:
    first = await repo.create_limit(team="research", limit="600 requests/min")
    await repo.create_limit(team="research", limit="5000 requests/hour")
    await repo.create_limit(team="research", alias="fast", limit="600 requests/min")
    with pytest.raises(Conflict) as refused:
        await repo.create_limit(team="research", limit="700 requests/min")
    assert refused.value.field == "limit"
    changed = await repo.update_limit(first.id, limit="700 requests/min", enforce=False)
    assert (changed.id, changed.limit, changed.enforce) == (first.id, "700 requests/min", False)
    await repo.archive_limit(first.id)
    await repo.create_limit(team="research", limit="800 requests/min")


async def test_a_limit_is_called_what_people_call_its_subjects(research: MintedKey, repo: Repository) -> None:
    labels = {
        "everyone": {},
        "team research": {"team": "research"},
        "team research, user ada@example.com": {"team": "research", "user": "ada@example.com"},
        f"key {research.id}": {"key": research.id},
        "team research, alias fast": {"team": "research", "alias": "fast"},
        "alias fast, target openai/gpt-5": {"alias": "fast", "target": "openai/gpt-5"},
        "provider openai": {"provider": "openai"},
    }
    for label, subjects in labels.items():
        made = await repo.create_limit(limit="$50/day", **subjects)
        assert made.label == label
        assert await repo.get_limit(made.id) == made


async def test_prices_are_set_changed_and_given_back(research: MintedKey, repo: Repository) -> None:
    await repo.set_price(provider="openai", model="gpt-5", input="1.25", output=10)
    price = await repo.update_price("openai", "gpt-5", cache_read="0.125")
    assert (price.input, price.cache_read, price.revision) == (Decimal("1.25"), Decimal("0.125"), 2)
    await repo.archive_price("openai", "gpt-5")
    with pytest.raises(NotFound):
        await repo.get_price("openai", "gpt-5")


async def test_the_audit_log_tells_what_was_before_and_after(research: MintedKey, repo: Repository) -> None:
    await repo.update_alias("fast", targets=[], deprecated="gone in May")
    entry = (await repo.list_audit(kind="alias", limit=1)).items[0]
    assert entry.action == "alias.update"
    assert entry.before is not None
    assert entry.after is not None
    assert [target["model"] for target in entry.before["targets"]] == ["gpt-5-mini", "gpt-5"]
    assert (entry.after["targets"], entry.after["deprecated"]) == ([], "gone in May")
    assert [entry.action for entry in await repo.list_audit(actor="nobody")] == []


async def test_what_is_returned_when_a_thing_is_made_is_what_is_stored(repo: Repository) -> None:
    await repo.create_team(name="research", metadata={"cost centre": 7})
    await repo.create_user(name="ada", description="x")
    await repo.create_provider(name="openai", kind="openai", secret={"id": "env:A"}, headers={"X-A": "b"})
    member = await repo.add_member(team="research", user="ada", role="admin")
    target = {"provider": "openai", "model": "gpt-5", "params": {"seed": 1}}
    alias = await repo.create_alias(name="fast", targets=[target], team="research")
    key, _ = await repo.create_key(team="research", user="ada", aliases=["fast"], metadata={"a": [1, None]})
    limit = await repo.create_limit(team="research", user="ada", key=key.id, alias="fast", limit="$0.1/day")
    assert (await repo.list_members()).items == (member,)
    assert await repo.get_alias("fast", team="research") == alias
    assert await repo.get_key(key.id) == key
    assert await repo.get_limit(limit.id) == limit
    assert [entry.after for entry in await repo.list_audit(kind="key")] == [key.model_dump(mode="json")]
