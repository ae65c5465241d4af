"""A limit on a key comes with the key's entry: nobody else holds it, and its own caller always does."""

from __future__ import annotations

import msgspec
import pytest

from mesh_store.model.keys import MintedKey
from mesh_store.model.snapshot import KeyEntry, LimitRule, Snapshot, Subject
from mesh_store.postgres import Database
from mesh_store.postgres.compile import compile_snapshot, keys_since
from mesh_store.postgres.repository import Repository


async def entry(database: Database, key_id: str, since: int = 0) -> KeyEntry:
    delta = await keys_since(database, since)
    found = next(each for _, each in delta.entries if each.id == key_id)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=KeyEntry)


async def rules(database: Database, key_id: str) -> dict[str, LimitRule]:
    snapshot = Snapshot(await compile_snapshot(database))
    return {rule.text: rule for rule in snapshot.limits_of(await entry(database, key_id))}


async def test_it_is_in_the_entry_and_not_in_the_snapshot(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    before = await database.head()
    made = await repo.create_limit(key=research.id, limit="60 requests/min, burst 5", on_exhausted="cut")
    after = await database.head()
    assert (after.revision, after.keys_revision) == (before.revision, before.keys_revision + 1)
    assert (await compile_snapshot(database)).limits == ()
    found = await entry(database, research.id, before.keys_revision)
    assert found.revision == after.keys_revision
    [rule] = (await rules(database, research.id)).values()
    assert (rule.id, rule.limit.amount, rule.limit.burst) == (made.id, 60, 5)
    assert (rule.label, rule.on_exhausted) == (f"key {research.id}", "cut")


async def test_changing_it_writes_the_entry_again_and_keeps_its_id(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    made = await repo.create_limit(key=research.id, limit="60 requests/min")
    for change in ({"limit": "50 requests/min"}, {"enforce": False}):
        before = await database.head()
        await repo.update_limit(made.id, **change)
        head = await database.head()
        assert (head.revision, head.keys_revision) == (before.revision, before.keys_revision + 1)
        [rule] = (await rules(database, research.id)).values()
        assert rule.id == made.id
    assert (rule.limit.amount, rule.enforce) == (50, False)
    before = await database.head()
    await repo.archive_limit(made.id)
    assert (await entry(database, research.id, before.keys_revision)).limits == ()


async def test_a_limit_given_when_the_key_is_made_is_there_from_its_first_entry(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    before = await database.head()
    key, _ = await repo.create_key(team="research", limits=["5 requests/min", "$3/day"])
    head = await database.head()
    assert (head.revision, head.keys_revision) == (before.revision, before.keys_revision + 1)
    assert set(await rules(database, key.id)) == {"5 requests/min", "$3/day"}


async def test_limits_of_others_are_not_in_it(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    other, _ = await repo.create_key(team="research")
    await repo.create_limit(key=other.id, limit="60 requests/min")
    await repo.create_limit(team="research", limit="600 requests/min")
    assert await rules(database, research.id) == {}
    assert set(await rules(database, other.id)) == {"60 requests/min"}


@pytest.mark.parametrize(
    ("subject", "call", "binds"),
    [
        ({}, {}, True),
        ({"alias": "fast"}, {}, True),
        ({"alias": "fast"}, {"alias": "another"}, False),
        ({"alias": "fast", "target": "openai/gpt-5"}, {}, False),
        ({"provider": "openai"}, {}, True),
        ({"provider": "openai"}, {"provider": "another"}, False),
        ({"user": "ada@example.com"}, {}, True),
        ({"user": "ada@example.com"}, {"user": None}, False),
        ({"team": "research"}, {}, True),
        ({"team": "sales"}, {}, False),
    ],
)
async def test_it_binds_the_calls_that_all_its_subjects_have_in_common(
    research: MintedKey,
    repo: Repository,
    database: Database,
    subject: dict[str, str],
    call: dict[str, str | None],
    binds: bool,
) -> None:
    await repo.create_team(name="sales")
    await repo.create_limit(key=research.id, limit="60 requests/min", **subject)
    snapshot = Snapshot(await compile_snapshot(database))
    key = await entry(database, research.id)
    alias = snapshot.alias("fast", key.team)
    assert alias is not None
    first = alias.targets[0]
    ids = {"team": key.team, "user": key.user, "key": key.id, "alias": alias.id, "provider": first.provider}
    made = Subject(**{**ids, "target": first.id, **call})
    assert bool(list(snapshot.limits_on(made, key))) is binds


async def test_it_follows_the_name_to_what_the_team_has_of_its_own(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_limit(key=research.id, alias="fast", limit="60 requests/min")
    await repo.create_limit(key=research.id, provider="openai", limit="50 requests/min")
    account = await repo.create_provider(name="openai", kind="openai", team="research")
    own = await repo.create_alias(name="fast", team="research")
    found = await rules(database, research.id)
    assert found["60 requests/min"].subject.alias == own.id
    assert found["50 requests/min"].subject.provider == account.id


async def test_its_burst_holds_the_largest_call_of_todays_aliases_without_a_new_entry(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_limit(key=research.id, limit="1M tokens/min")
    await repo.create_limit(key=research.id, limit="2M tokens/hour, hard")
    before = await rules(database, research.id)
    head = await database.head()
    target = {"provider": "openai", "model": "x", "context_window": 700_000}
    await repo.create_alias(name="long", targets=[target])
    after = await rules(database, research.id)
    assert (await database.head()).keys_revision == head.keys_revision
    assert before["1M tokens/min"].limit.burst < after["1M tokens/min"].limit.burst == 700_000
    assert after["2M tokens/hour, hard"].limit.burst == 700_000


@pytest.mark.parametrize("what", ["alias", "provider", "user", "key"])
async def test_it_goes_with_what_it_is_on(
    research: MintedKey, repo: Repository, database: Database, what: str
) -> None:
    await repo.create_user(name="bob@example.com")
    await repo.create_provider(name="other", kind="openai")
    subject = {"alias": "fast", "provider": "other", "user": "bob@example.com", "key": research.id}[what]
    fields = {"key": research.id, what: subject}
    await repo.create_limit(limit="60 requests/min", **fields)
    before = await database.head()
    if what == "key":
        await repo.revoke_key(research.id)
    else:
        await getattr(repo, f"archive_{what}")(subject)
    assert (await entry(database, research.id, before.keys_revision)).limits == ()


async def test_whoever_changes_it_past_the_repository_is_heard_too(
    research: MintedKey, repo: Repository, database: Database, sql
) -> None:
    made = await repo.create_limit(key=research.id, limit="60 requests/min")
    before = await database.head()
    await sql("UPDATE limits SET amount = 7 WHERE id = $1", made.id)
    [rule] = (await entry(database, research.id, before.keys_revision)).limits
    assert rule.terms.amount == 7
    await sql("DELETE FROM limits WHERE id = $1", made.id)
    assert (await entry(database, research.id, before.keys_revision)).limits == ()
