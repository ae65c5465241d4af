"""Who can open a stored secret: the live keys of the teams that may use it, and nobody else, ever after."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mesh_store.admin import Admin
from mesh_store.model import InvalidKey
from mesh_store.model.errors import ConfigError, SecretError
from mesh_store.model.keys import digest
from mesh_store.model.signing import Signer
from tests.secrets.opening import data_keys_of, document, entries, ids, publish, secrets_opened


def test_one_team_cannot_open_anothers_with_all_that_redis_holds(make_sealed):
    ours, theirs = make_sealed(secret="sk-ours"), make_sealed(secret="sk-theirs")
    mine = data_keys_of(ours, ours.key, team=ids(theirs)["team"])
    assert {key.id for key in mine} == {ids(ours)["data_key"]}
    opened = secrets_opened(ours, mine)
    assert dict(opened)[f"{ids(ours)['provider']}/{ids(ours)['team']}"] == {"key": "sk-ours"}
    assert all(place.endswith(ids(ours)["team"]) for place, _ in opened)
    assert "sk-theirs" not in str(opened)
    assert "sk-theirs" in str(secrets_opened(theirs, data_keys_of(theirs, theirs.key)))


def test_what_postgres_holds_opens_nothing_without_the_secret_key(sealed, words):
    [row] = sealed.query(
        "SELECT s.sealed, s.version, s.address, p.id::text AS provider FROM provider_secrets s "
        "JOIN providers p ON p.id = s.provider_id WHERE p.name = $1",
        sealed.name("local"),
    )
    from mesh_store.model.sealing import DataKey, open_values

    bound = (row["provider"], row["address"], row["version"])
    assert open_values(words.SIGNER.master, *bound, row["sealed"]) == {"key": words.CANARY}
    with pytest.raises(SecretError):
        open_values(Signer.from_secret("another").master, *bound, row["sealed"])
    known = data_keys_of(sealed, sealed.key)
    for guess in (*known, DataKey("x", "t", digest(sealed.key)), DataKey("x", "t", row["sealed"][:32])):
        with pytest.raises(SecretError):
            guess.open(
                msgspec.structs.replace(document(sealed).sealed[0], box=row["sealed"]),
                row["provider"],
                row["address"],
            )


def test_a_revoked_key_cannot_open_the_next_snapshot(sealed, words):
    kept = data_keys_of(sealed, sealed.key)
    assert secrets_opened(sealed, kept)
    _, other = sealed.new_key()
    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    sealed.run(lambda admin: admin.revoke_key(sealed.key_id))
    assert not secrets_opened(sealed, kept)
    assert not data_keys_of(sealed, sealed.key)
    assert entries(sealed)[digest(sealed.key)].revoked
    with pytest.raises(InvalidKey):
        for _ in range(1_000):
            mesh.chat(sealed.alias_name, words.ASK)
    mesh.chat(sealed.alias_name, words.ASK, key=other)
    assert sealed.sent() == f"Bearer {words.CANARY}"


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE keys SET expires_at = now() - interval '1 second' WHERE id = $1",
        "UPDATE key_secrets SET expires_at = now() - interval '1 second' WHERE key_id = $1",
    ],
    ids=["the key expired", "the overlap of a rotation is over"],
)
def test_a_key_that_ended_cannot_open_the_next_snapshot(sealed, end):
    kept = data_keys_of(sealed, sealed.key)
    sealed.new_key()
    sealed.query(end, sealed.key_id)
    publish(sealed)
    assert not secrets_opened(sealed, kept)
    assert not data_keys_of(sealed, sealed.key)


def test_an_end_that_comes_between_two_commits_is_noticed_by_whoever_publishes(sealed, words):
    from mesh_store.postgres import Database
    from mesh_store.postgres.compile import PostgresSource

    sealed.query("UPDATE keys SET expires_at = now() + interval '700 ms' WHERE id = $1", sealed.key_id)
    sealed.new_key()
    before = ids(sealed)["data_key"]

    async def watch():
        async with Database(sealed.engines.database_url) as database:
            source = PostgresSource(database)
            for _ in range(200):
                await source.prepare(words.SIGNER.master)
                if ids_now() != before:
                    return True
                await asyncio.sleep(0.02)
        return False

    def ids_now():
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ids, sealed).result()["data_key"]

    assert asyncio.run(watch())


def test_many_ends_are_one_new_data_key_for_the_team(sealed):
    more = [sealed.new_key()[0] for _ in range(3)]
    count = "SELECT count(*) FROM team_data_keys d JOIN teams t ON t.id = d.team_id WHERE t.name = $1"
    [before] = sealed.query(count, sealed.team)

    async def revoke_all(admin):
        async with admin.batch() as batch:
            for key_id in more:
                await batch.revoke_key(key_id)

    sealed.run(revoke_all)
    publish(sealed)
    [after] = sealed.query(count, sealed.team)
    assert after["count"] == before["count"] + 1


def test_a_team_that_loses_a_grant_gets_another_data_key_and_no_secret(sealed, make_sealed, words):
    other = make_sealed()
    sealed.run(lambda admin: admin.update_alias(sealed.alias_name, grants=[sealed.team, other.team]))
    team = ids(other)["team"]
    assert f"{ids(sealed)['provider']}/{team}" in {one.id for one in document(sealed).sealed}
    other.mesh().chat(sealed.alias_name, words.ASK)
    kept = data_keys_of(other, other.key)
    sealed.run(lambda admin: admin.update_alias(sealed.alias_name, grants=[sealed.team]))
    assert f"{ids(sealed)['provider']}/{team}" not in {one.id for one in document(sealed).sealed}
    assert not secrets_opened(other, kept)
    other.mesh().chat(other.alias_name, words.ASK)


def test_an_alias_of_its_own_hides_the_secret_behind_the_global_one(make_sealed):
    world, other = make_sealed(everyone=True), make_sealed()
    sealed_for = lambda: {one.id for one in document(world).sealed}  # noqa: E731
    place = f"{ids(world)['provider']}/{ids(other)['team']}"
    assert place in sealed_for()
    targets = [{"provider": other.name("local"), "model": "small"}]
    other.run(lambda admin: admin.create_alias(name=world.alias_name, team=other.team, targets=targets))
    assert place not in sealed_for()


def test_revoking_says_which_secrets_the_holder_could_have_opened(sealed, make_sealed):
    other = make_sealed(everyone=True)
    sealed.run(lambda admin: admin.revoke_key(sealed.key_id))
    seen = sealed.run(lambda admin: admin.secrets_seen_by(sealed.key_id))
    assert {sealed.name("local"), other.name("local")} <= set(seen)
    sealed.seal("sk-set-after-the-revocation")
    seen = sealed.run(lambda admin: admin.secrets_seen_by(sealed.key_id))
    assert sealed.name("local") not in seen
    assert other.name("local") in seen


def test_publishing_again_changes_not_one_byte_of_what_is_sealed(sealed):
    before = {one.id: one for one in document(sealed).sealed}
    sealed.run(lambda admin: admin.create_alias(name=sealed.name("more"), targets=[]))
    assert {one.id: one for one in document(sealed).sealed} == before


class TestTheSecretKey:
    def test_a_publisher_without_it_publishes_nothing(self, sealed):
        async def change():
            async with Admin.open(
                sealed.engines.database_url, sealed.engines.redis_url, actor="tests"
            ) as admin:
                await admin.create_alias(name=sealed.name("x"), targets=[])
                return admin.unpublished

        assert "needs MESH_SECRET_KEY" in asyncio.run(change())
        publish(sealed)

    def test_a_publisher_with_another_one_is_told_which_is_which(self, sealed, words):
        other = Signer.from_secret("another secret key altogether")

        async def change():
            urls = (sealed.engines.database_url, sealed.engines.redis_url)
            async with Admin.open(*urls, actor="tests", signer=other) as admin:
                await admin.create_alias(name=sealed.name("x"), targets=[])
                return admin.unpublished

        said = asyncio.run(change())
        assert words.SIGNER.master.id in said
        assert other.master.id in said
        publish(sealed)

    def test_it_can_be_changed_while_callers_go_on(self, sealed, words):
        from mesh_store.admin.secrets import rotate_master

        mesh, new = sealed.mesh(), Signer.from_secret("the key that follows, long and random")
        mesh.chat(sealed.alias_name, words.ASK)
        urls = (sealed.engines.database_url, sealed.engines.redis_url)
        try:
            assert asyncio.run(rotate_master(*urls, words.SIGNER, new, actor="tests")) >= 2
            assert {row["master"] for row in sealed.query("SELECT master FROM provider_secrets")} == {
                new.master.id
            }
            assert mesh._held.subscriber.wait(document(sealed).revision, 60)
            mesh.chat(sealed.alias_name, words.ASK)
            with sealed.mesh() as fresh:
                fresh.chat(sealed.alias_name, words.ASK)
            assert sealed.sent() == f"Bearer {words.CANARY}"
        finally:
            asyncio.run(rotate_master(*urls, new, words.SIGNER, actor="tests"))
        assert asyncio.run(rotate_master(*urls, new, words.SIGNER, actor="tests")) == 0
        with pytest.raises(ConfigError, match="is the old one"):
            asyncio.run(rotate_master(*urls, new, new, actor="tests"))


def test_a_key_minted_after_a_rotation_is_not_given_the_data_key_before(sealed):
    before = ids(sealed)["data_key"]
    going, _ = sealed.new_key()
    sealed.run(lambda admin: admin.revoke_key(going))
    _, late = sealed.new_key()
    publish(sealed)
    present = ids(sealed)["data_key"]
    assert {key.id for key in data_keys_of(sealed, sealed.key)} == {before, present}
    assert {key.id for key in data_keys_of(sealed, late)} == {present}
