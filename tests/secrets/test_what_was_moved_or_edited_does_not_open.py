"""A secret, an entry or a data key that was moved, swapped or edited opens nothing."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from mesh_store.model.errors import SecretError
from mesh_store.model.signing import Place, Signer, seal
from mesh_store.model.snapshot import encode
from mesh_store.redis import config_channel as channel
from tests.secrets.opening import address, data_keys_of, document, ids, publish, secrets_opened


class TestWhatWasMovedOrEditedDoesNotOpen:
    def test_a_base_url_edited_in_the_database(self, sealed, words, caplog):
        evil = "http://127.0.0.1:9/evil"
        sealed.query("UPDATE providers SET base_url = $1 WHERE name = $2", evil, sealed.name("local"))
        with caplog.at_level(logging.ERROR):
            publish(sealed)
        assert (
            f"was set for 'openai {sealed.provider.base_url}', the provider is now at 'openai {evil}'"
            in caplog.text
        )
        before = sealed.provider.count
        with pytest.raises(SecretError, match="could not be published"):
            sealed.mesh().chat(sealed.alias_name, words.ASK)
        assert sealed.provider.count == before

    def test_an_address_edited_along_with_it(self, sealed, caplog):
        evil = "http://127.0.0.1:9/evil"
        sealed.query("UPDATE providers SET base_url = $1 WHERE name = $2", evil, sealed.name("local"))
        sealed.query(
            "UPDATE provider_secrets SET address = 'openai ' || $1 WHERE provider_id = $2::uuid",
            evil,
            ids(sealed)["provider"],
        )
        with caplog.at_level(logging.ERROR):
            publish(sealed)
        assert "does not open: it was sealed for another provider" in caplog.text
        assert ids(sealed)["provider"] not in str(document(sealed).sealed)

    def test_a_row_copied_to_another_provider(self, make_sealed, caplog):
        rich, poor = make_sealed(secret="sk-rich"), make_sealed(secret="sk-poor")
        rich.query(
            "UPDATE provider_secrets p SET sealed = r.sealed, version = r.version FROM provider_secrets r "
            "WHERE p.provider_id = $1::uuid AND r.provider_id = $2::uuid",
            ids(poor)["provider"],
            ids(rich)["provider"],
        )
        with caplog.at_level(logging.ERROR):
            publish(poor)
        assert "was sealed for another provider" in caplog.text
        assert "sk-rich" not in str(secrets_opened(poor, data_keys_of(poor, poor.key)))
        assert secrets_opened(rich, data_keys_of(rich, rich.key))  # nobody else is held up

    def test_a_data_key_copied_to_another_team(self, make_sealed, words, caplog):
        ours, theirs = make_sealed(), make_sealed()
        [kept] = ours.query("SELECT sealed FROM team_data_keys WHERE id = $1::uuid", ids(ours)["data_key"])
        theirs.query(
            "UPDATE team_data_keys SET sealed = $1 WHERE id = $2::uuid",
            kept["sealed"],
            ids(theirs)["data_key"],
        )
        tampered = ids(theirs)["data_key"]
        with caplog.at_level(logging.ERROR):
            theirs.run(lambda admin: admin.create_alias(name=theirs.name("more"), targets=[]))
        assert "the team gets another one" in caplog.text
        assert ids(theirs)["data_key"] != tampered
        theirs.mesh().chat(theirs.alias_name, words.ASK)
        opened = secrets_opened(theirs, data_keys_of(ours, ours.key, team=ids(theirs)["team"]))
        assert ids(theirs)["team"] not in str(opened)

    def test_a_sealed_part_of_a_snapshot_moved_to_another_team(self, make_sealed, words):
        ours, theirs = make_sealed(secret="sk-ours"), make_sealed(secret="sk-theirs")
        mine = data_keys_of(ours, ours.key)[0]
        sealed = {one.id: one for one in document(ours).sealed}
        our_ids, their_ids = ids(ours), ids(theirs)
        theirs_sealed = sealed[f"{their_ids['provider']}/{their_ids['team']}"]
        for provider in (our_ids["provider"], their_ids["provider"]):
            with pytest.raises(SecretError, match="another provider, team, address or version"):
                mine.open(theirs_sealed, provider, address(ours))
        own = sealed[f"{our_ids['provider']}/{our_ids['team']}"]
        assert mine.open(own, our_ids["provider"], address(ours)) == {"key": "sk-ours"}
        for wrong in (msgspec.structs.replace(own, version=own.version + 1), own):
            with pytest.raises(SecretError):
                mine.open(wrong, our_ids["provider"], "openai http://127.0.0.1:9/evil")

    def test_a_snapshot_altered_in_redis_is_refused_and_the_last_good_one_stays(self, sealed, words):
        mesh = sealed.mesh()
        mesh.chat(sealed.alias_name, words.ASK)
        client, good = sealed.redis(), document(sealed)
        evil = tuple(
            msgspec.structs.replace(one, base_url="http://127.0.0.1:9/evil") for one in good.providers
        )
        forged = msgspec.structs.replace(good, providers=evil, revision=good.revision + 1)
        place = Place(forged.epoch, forged.revision)
        kept = {name: client.get(name) for name in (channel.SNAPSHOT, channel.HEAD)}
        client.set(channel.SNAPSHOT, seal("snapshot", place, encode(forged), signer=Signer(b"e" * 32)))
        client.set(channel.HEAD, str(place))
        try:
            deadline = asyncio.run(_refused(mesh))
            assert deadline
            mesh.chat(sealed.alias_name, words.ASK)
            assert sealed.sent() == f"Bearer {words.CANARY}"
        finally:
            for name, value in kept.items():
                client.set(name, value)


async def _refused(mesh):
    for _ in range(500):
        if mesh.status().refused:
            return True
        await asyncio.sleep(0.01)
    return False
