"""Keys: shown once, found by digest, rotated with overlap, revoked for ever, never a second life."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh_store.model import keys
from mesh_store.model.errors import Conflict, NotFound, Rejected
from mesh_store.model.keys import MintedKey
from mesh_store.model.signing import trust_secret
from mesh_store.model.snapshot import KeyEntry
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource, keys_since
from mesh_store.postgres.repository import Repository

Sql = Callable[..., Awaitable[list[Any]]]


async def entry_of(database: Database, minted: MintedKey) -> KeyEntry:
    return dict((await keys_since(database, 0, 1000)).entries)[minted.digest]


def test_every_letter_of_a_key_is_as_likely_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.secrets, "token_bytes", lambda count: bytes(i % 256 for i in range(count)))
    text = keys.random_text(496)
    assert {letter: text.count(letter) for letter in text} == dict.fromkeys(keys.ALPHABET, 8)
    assert [len(keys.random_text(length)) for length in range(60)] == list(range(60))


async def test_a_key_is_stored_as_its_digest_and_shown_by_its_end(
    research: MintedKey, repo: Repository, sql: Sql
) -> None:
    assert keys.parse(research.text) == research.id
    key = await repo.get_key(research.id)
    assert (key.team, key.user, key.last_four) == ("research", "ada@example.com", research.text[-4:])
    for (table,) in await sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        assert research.text[12:-6] not in str(await sql(f"SELECT t::text FROM {table} t")), table


async def test_a_key_lives_ninety_days_unless_somebody_says_otherwise(
    research: MintedKey, repo: Repository
) -> None:
    lifetimes = {"90d": 90, "12h": 0.5, timedelta(days=7): 7}
    default = (await repo.get_key(research.id)).expires_at
    assert default is not None
    assert default - datetime.now(UTC) == pytest.approx(timedelta(days=90), abs=timedelta(minutes=1))
    for expires, days in lifetimes.items():
        key, _ = await repo.create_key(team="research", expires=expires)
        assert key.expires_at is not None
        assert key.expires_at - datetime.now(UTC) == pytest.approx(
            timedelta(days=days), abs=timedelta(minutes=1)
        )
    assert (await repo.create_key(team="research", expires=None))[0].expires_at is None


async def test_an_entry_tells_a_caller_what_its_key_may(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    _, minted = await repo.create_key(team="research", aliases=["fast"], expires=None)
    entry = await entry_of(database, minted)
    team, head = await repo.get_team("research"), await database.head()
    assert entry == KeyEntry(id=minted.id, team=team.id, aliases=("fast",), revision=head.keys_revision)


async def test_rotation_overlaps_and_keeps_the_id_and_its_limits(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.create_limit(key=research.id, limit="60 requests/min")
    before = await entry_of(database, research)
    key, minted = await repo.rotate_key(research.id, overlap="1h", expires="30d")
    assert minted.id == research.id
    assert minted.digest != research.digest
    old, new = await entry_of(database, research), await entry_of(database, minted)
    now_us = datetime.now(UTC).timestamp() * 1_000_000
    assert old.expires_at_us == pytest.approx(now_us + 3_600e6, abs=60e6)
    assert new.expires_at_us == pytest.approx(now_us + 30 * 86_400e6, abs=60e6)
    assert (old.id, old.team, old.revision > before.revision) == (new.id, new.team, True)
    assert [secret.last_four for secret in key.secrets] == [minted.last_four, research.last_four]
    assert len(await repo.list_limits(key=research.id)) == 1


async def test_rotation_without_overlap_ends_the_old_secret_at_once(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    key, minted = await repo.rotate_key(research.id, overlap="0 s")
    ended = (await entry_of(database, research)).expires_at_us
    assert ended is not None
    assert ended <= datetime.now(UTC).timestamp() * 1_000_000
    assert [secret.last_four for secret in key.secrets] == [minted.last_four]


async def test_an_old_secret_never_outlives_what_the_key_was_given(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    await repo.update_key(research.id, expires="1h")
    given = (await entry_of(database, research)).expires_at_us
    await repo.rotate_key(research.id, overlap="24h")
    assert (await entry_of(database, research)).expires_at_us == given


async def test_a_key_that_never_expires_stays_so_when_it_is_rotated(
    research: MintedKey, repo: Repository
) -> None:
    await repo.update_key(research.id, expires=None)
    assert (await repo.rotate_key(research.id))[0].expires_at is None


async def test_two_rotations_at_once_leave_one_current_secret(
    research: MintedKey, repo: Repository, sql: Sql
) -> None:
    await asyncio.gather(*(repo.rotate_key(research.id) for _ in range(4)))
    assert await sql("SELECT count(*), count(*) FILTER (WHERE expires_at IS NULL) FROM key_secrets") == [
        (5, 1)
    ]


async def test_revocation_reaches_every_secret_and_cannot_be_undone(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    _, minted = await repo.rotate_key(research.id)
    await repo.create_limit(key=research.id, limit="60 requests/min")
    known = (await database.head()).keys_revision
    await repo.revoke_key(research.id)
    delta = await keys_since(database, known, 10)
    assert {digest: entry.revoked for digest, entry in delta.entries} == {
        research.digest: True,
        minted.digest: True,
    }
    assert len(await repo.list_limits(key=research.id)) == 0
    for change in (repo.rotate_key(research.id), repo.update_key(research.id, description="x")):
        with pytest.raises(Conflict, match="revoked"):
            await change
    head = await database.head()
    assert (await repo.revoke_key(research.id)).revoked_at is not None
    assert await database.head() == head


@pytest.mark.parametrize("way", ["archive_team", "archive_user", "remove_member"])
async def test_whoever_leaves_takes_their_keys_along(
    research: MintedKey, repo: Repository, database: Database, way: str
) -> None:
    arguments = {
        "archive_team": ["research"],
        "archive_user": ["ada@example.com"],
        "remove_member": ["research", "ada@example.com"],
    }
    await getattr(repo, way)(*arguments[way])
    assert (await entry_of(database, research)).revoked
    assert "key.revoke" in [entry.action for entry in await repo.list_audit(entity_id=research.id)]


async def test_a_key_made_while_its_team_is_archived_does_not_outlive_it(
    research: MintedKey, repo: Repository, sql: Sql
) -> None:
    async def mint() -> None:
        for _ in range(5):
            try:
                await repo.create_key(team="research")
            except NotFound:
                return

    await asyncio.gather(*(mint() for _ in range(4)), repo.archive_team("research"))
    assert await sql("SELECT id FROM keys WHERE revoked_at IS NULL") == []


async def test_a_key_belongs_to_a_member_even_for_psql(
    research: MintedKey, repo: Repository, sql: Sql
) -> None:
    await repo.create_user(name="eve")
    with pytest.raises(Rejected, match="not a member"):
        await repo.create_key(team="research", user="eve")
    with pytest.raises(Exception, match="fk_keys_team_id_user_id_members"):
        await sql("UPDATE keys SET user_id = (SELECT id FROM users WHERE name = 'eve')")


async def test_a_changed_key_reaches_its_readers_with_a_higher_revision(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    before = await entry_of(database, research)
    await repo.update_key(research.id, aliases=["fast"])
    delta = await keys_since(database, before.revision, 10)
    assert [(digest, entry.aliases) for digest, entry in delta.entries] == [(research.digest, ("fast",))]
    assert delta.revision == before.revision + 1 == (await database.head()).keys_revision


async def test_pages_of_changed_keys_miss_nothing_and_end(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    minted = [research] + [(await repo.create_key(team="research"))[1] for _ in range(6)]
    await repo.revoke_key(minted[2].id)
    seen: dict[bytes, KeyEntry] = {}
    revision = 0
    while (page := await keys_since(database, revision, 3)).entries:
        assert page.revision > revision
        assert len(page.entries) <= 3
        revision = page.revision
        seen.update(page.entries)
    assert seen.keys() == {key.digest for key in minted}
    assert [entry.id for entry in seen.values() if entry.revoked] == [minted[2].id]
    assert page.revision == revision == (await database.head()).keys_revision


async def test_the_publisher_is_given_what_vouches_for_it(research: MintedKey, database: Database) -> None:
    source = PostgresSource(database)
    kept = await source.trust_secrets([research.digest, b"\0" * 32])
    assert kept == {research.digest: trust_secret(research.text)}


async def test_an_alias_that_the_team_cannot_call_is_a_typo(research: MintedKey, repo: Repository) -> None:
    with pytest.raises(Rejected, match=r"no alias 'fsat' \(it has: fast\)") as refused:
        await repo.create_key(team="research", aliases=["fsat"])
    assert refused.value.field == "aliases"


@pytest.mark.parametrize("expires", ["yesterday", "0 s", "-1d", "9999999d", timedelta(days=-1), 5])
async def test_an_expiry_that_is_no_moment_to_come_is_refused(
    research: MintedKey, repo: Repository, expires: Any
) -> None:
    with pytest.raises(Rejected) as refused:
        await repo.create_key(team="research", expires=expires)
    assert refused.value.field == "expires"


async def test_an_import_mints_every_row_in_order(
    research: MintedKey, repo: Repository, database: Database
) -> None:
    before = await database.head()
    rows: list[dict[str, object]] = [
        {"team": "research", "user": "ada@example.com", "description": f"laptop {number}", "expires": "30d"}
        for number in range(1201)
    ]
    told: list[int] = []
    imported = [pair async for pair in repo.import_keys(rows, progress=told.append)]
    assert [key.description for key, _ in imported] == [row["description"] for row in rows]
    assert all(keys.digest(minted.text) == minted.digest for _, minted in imported)
    assert told == [500, 1000, 1201]
    assert (await database.head()).keys_revision == before.keys_revision + 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"team": "nowhere"}, "row 3: key: there is no team 'nowhere'"),
        ({"team": "research", "user": "eve"}, "row 3: key: user 'eve' is not a member"),
        ({"team": "research", "colour": "red"}, "row 3: key: colour: there is no such field"),
        ({"team": "research", "expires": "soon"}, "row 3: key: expires"),
        ({"team": "research", "aliases": ["fsat"]}, "no alias 'fsat'"),
    ],
)
async def test_an_import_with_one_bad_row_mints_nothing(
    research: MintedKey, repo: Repository, database: Database, row: dict[str, object], said: str
) -> None:
    before = await database.head()
    with pytest.raises(Rejected, match=said):
        _ = [pair async for pair in repo.import_keys([{"team": "research"}, {"team": "research"}, row])]
    assert await database.head() == before
