"""Somebody who can write to Redis publishes a configuration of his own; a fresh caller refuses it."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import msgspec
import pytest

from mesh_plugins import ConfigUnavailable
from mesh_store.model.keys import digest
from mesh_store.model.signing import Signer, seal, trust_secret, unseal
from mesh_store.model.snapshot import decode, encode
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect
from mesh_store.sync.publisher import publish

ATTACKER = Signer(b"a" * 32)


@pytest.fixture(scope="module")
def redis_url(valkeys):
    """A server of these tests' own, to be lied in."""
    return valkeys().url


@pytest.fixture
def lied_to(world, words, redis_url):
    """A team whose configuration is published as it should be, in a Redis an attacker may write to."""
    world.alias()
    engines = SimpleNamespace(
        database_url=world.engines.database_url, redis_url=redis_url, dsn=world.engines.dsn
    )
    there = dataclasses.replace(world, engines=engines)

    async def publish_there():
        from mesh_store.redis.client import connect_async

        async with Database(engines.database_url) as database, connect_async(redis_url, deadline=5) as redis:
            await redis.flushall()
            await publish(PostgresSource(database), redis, signer=words.SIGNER)

    asyncio.run(publish_there())
    there.provider.requests.clear()
    return there


def forge_snapshot(world, signer):
    """Point every provider at the attacker, at the next revision."""
    with connect(world.engines.redis_url, deadline=5) as redis:
        envelope = unseal("snapshot", redis.get(channel.SNAPSHOT))
        document = decode(envelope.body)
        providers = [
            msgspec.structs.replace(each, base_url=f"{world.provider.base_url}?evil")
            for each in document.providers
        ]
        place = envelope.place._replace(revision=envelope.revision + 1)
        forged = msgspec.structs.replace(document, providers=tuple(providers), revision=place.revision)
        redis.set(channel.SNAPSHOT, seal("snapshot", place, encode(forged), signer=signer))
        redis.set(channel.HEAD, str(place))
        redis.delete(channel.DELTAS)


def forge_entry(world, signer, *, vouched_by=None, voucher=None):
    """Give the caller's key an entry of the attacker's making."""
    name = digest(world.key)
    with connect(world.engines.redis_url, deadline=5) as redis:
        true = unseal("key", redis.get(channel.key_name(name)), name=name)
        secret = None if vouched_by is None else trust_secret(vouched_by)
        sealed = seal("key", true.place, true.body, name=name, signer=signer, trust=secret)
        if voucher == "copied":
            copied = msgspec.structs.replace(unseal("key", sealed, name=name), voucher=true.voucher)
            sealed = msgspec.msgpack.encode(copied)
        redis.set(channel.key_name(name), sealed)


def assert_refused(world, words, said):
    with world.mesh() as mesh, pytest.raises(ConfigUnavailable, match=said):
        mesh.chat(world.name("fast"), words.ASK)
    assert not world.provider.requests, "something was sent somewhere"


def test_what_the_control_plane_publishes_is_believed(lied_to, words):
    with lied_to.mesh() as mesh:
        mesh.chat(lied_to.name("fast"), words.ASK)
        assert mesh._held.subscriber.trust.publisher == words.SIGNER.public


@pytest.mark.parametrize(
    "entry",
    [{}, {"vouched_by": "another"}, {"voucher": "copied"}],
    ids=["without a voucher", "with one by his own key", "with the true publisher's"],
)
def test_an_attackers_entries_and_snapshot_are_refused(lied_to, words, entry):
    if "vouched_by" in entry:
        entry = {"vouched_by": lied_to.new_key()[1]}
    forge_snapshot(lied_to, ATTACKER)
    forge_entry(lied_to, ATTACKER, **entry)
    assert_refused(lied_to, words, r"does not vouch for that publisher.*MESH_TRUST_KEY")


def test_unsigned_ones_are_refused_and_it_says_what_the_control_plane_lacks(lied_to, words):
    forge_snapshot(lied_to, None)
    forge_entry(lied_to, None)
    assert_refused(lied_to, words, r"nobody signed is not believed.*set MESH_SECRET_KEY")


@pytest.mark.parametrize("signer", [ATTACKER, None], ids=["signed", "unsigned"])
def test_his_snapshot_beside_the_true_entry_is_refused(lied_to, words, signer):
    forge_snapshot(lied_to, signer)
    assert_refused(lied_to, words, r"this process believes|is not signed")


def test_a_caller_that_was_told_the_publisher_needs_no_voucher(lied_to, words):
    forge_snapshot(lied_to, ATTACKER)
    forge_entry(lied_to, ATTACKER)
    with lied_to.mesh(trust_key=ATTACKER.public.hex()) as mesh:
        assert mesh.config.snapshot().revision
    with lied_to.mesh(trust_key=words.SIGNER.public.hex()) as mesh, pytest.raises(ConfigUnavailable):
        mesh.chat(lied_to.name("fast"), words.ASK)


def test_a_key_that_does_not_exist_is_no_question_of_trust(lied_to, words):
    from mesh_plugins import MeshError
    from mesh_store.model.errors import InvalidKey
    from mesh_store.model.keys import mint

    unknown = dataclasses.replace(lied_to, key=mint().text)
    with unknown.mesh() as mesh, pytest.raises(MeshError) as refused:
        mesh.chat(lied_to.name("fast"), words.ASK)
    assert isinstance(refused.value, InvalidKey)
