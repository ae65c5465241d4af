"""The way of a stored secret: set by an operator, opened by a caller, seen by the provider alone."""

from __future__ import annotations

import asyncio

import pytest

from mesh_store.model.errors import Rejected, SecretError


def test_a_call_is_sent_with_the_stored_secret(sealed, words):
    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == f"Bearer {words.CANARY}"
    assert list(mesh.stream(sealed.alias_name, words.ASK))
    assert sealed.sent() == f"Bearer {words.CANARY}"


def test_the_same_on_an_event_loop(sealed, words):
    async def calls():
        async with sealed.mesh() as mesh:
            await mesh.achat(sealed.alias_name, words.ASK)
            assert [chunk async for chunk in await mesh.astream(sealed.alias_name, words.ASK)]

    asyncio.run(calls())
    assert sealed.sent() == f"Bearer {words.CANARY}"


def test_a_secret_set_again_is_used_by_the_next_calls(sealed, words):
    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    stored = sealed.seal("sk-the-next-one")
    assert stored.version == 2
    _wait(sealed, mesh)
    mesh.chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == "Bearer sk-the-next-one"


def test_a_key_minted_later_opens_it_too(sealed, words):
    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    _, text = sealed.new_key()
    mesh.chat(sealed.alias_name, words.ASK, key=text)
    assert sealed.sent() == f"Bearer {words.CANARY}"


def test_both_secrets_of_a_rotated_key_open_it_while_they_overlap(sealed, words):
    _, minted = sealed.run(lambda admin: admin.rotate_key(sealed.key_id))
    mesh = sealed.mesh()
    for text in (sealed.key, minted.text):
        mesh.chat(sealed.alias_name, words.ASK, key=text)
        assert sealed.sent() == f"Bearer {words.CANARY}"


def test_values_of_a_map_are_set_one_by_one(sealed):
    sealed.seal({"api_key": "sk-one", "other": "sk-two"})
    stored = sealed.seal({"other": "sk-three"})
    assert (stored.labels, stored.version) == (("api_key", "key", "other"), 3)


def test_a_provider_that_moves_takes_its_secret_along(sealed, words, stand_in):
    moved = stand_in.base_url.replace("127.0.0.1", "localhost")
    sealed.run(lambda admin: admin.update_provider(sealed.name("local"), base_url=moved))
    sealed.mesh().chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == f"Bearer {words.CANARY}"


def test_a_provider_given_a_reference_instead_forgets_what_was_stored(sealed, words, monkeypatch):
    monkeypatch.setenv("MESH_TEST_PROVIDER_KEY", "sk-from-the-environment")
    sealed.run(lambda admin: admin.update_provider(sealed.name("local"), secret="env:MESH_TEST_PROVIDER_KEY"))
    assert sealed.name("local") not in {
        s.provider for s in sealed.run(lambda admin: admin.list_secrets(limit=1000)).items
    }
    sealed.mesh().chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == "Bearer sk-from-the-environment"


def test_without_a_secret_key_none_can_be_stored_and_it_says_so(sealed):
    async def without():
        from mesh_store.admin import Admin

        urls = (sealed.engines.database_url, sealed.engines.redis_url)
        async with Admin.open(*urls, actor="tests") as admin:
            with pytest.raises(Rejected, match="MESH_SECRET_KEY, which is not set here"):
                await admin.set_secret(sealed.name("local"), "sk-x")
            with pytest.raises(Rejected, match="MESH_SECRET_KEY"):
                await admin.update_provider(sealed.name("local"), base_url="http://127.0.0.1:9/v1")

    asyncio.run(without())


@pytest.mark.parametrize("value", ["", "  ", {}, {"a b": "x"}, {"federated": "x"}, {"k": 1}, "x" * 70_000])
def test_what_is_no_secret_is_refused_without_being_repeated(sealed, value):
    with pytest.raises(Rejected, match=r"^secret: ") as caught:
        sealed.seal(value)
    assert "xxx" not in str(caught.value)


def test_a_reference_to_what_was_never_stored_says_what_to_do(make_sealed, words):
    world = make_sealed(secret=None)
    world.run(lambda admin: admin.update_provider(world.name("local"), secret="sealed:key"))
    with pytest.raises(SecretError, match="was not set"):
        world.mesh().chat(world.alias_name, words.ASK)


def test_a_key_minted_before_secrets_were_stored_is_told_to_rotate(sealed, words):
    sealed.query(
        "UPDATE key_secrets SET sealing_public = NULL, data_key_id = NULL WHERE key_id = $1", sealed.key_id
    )
    sealed.run(lambda admin: admin.publish())
    with pytest.raises(SecretError, match="mesh key rotate"):
        sealed.mesh().chat(sealed.alias_name, words.ASK)


def _wait(world, mesh):
    revision = world.run(lambda admin: admin.publish()).revision
    assert mesh._held.subscriber.wait(revision, 60) is not None
