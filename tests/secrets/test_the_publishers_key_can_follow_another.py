"""MESH_SECRET_KEY is changed: whoever believed the old publisher follows, and nobody else is believed."""

from __future__ import annotations

import asyncio

import pytest

from mesh_store.admin.secrets import rotate_master
from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Signer
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect_async
from mesh_store.sync.publisher import publish

NEXT = Signer.from_secret("the key that follows, long and random enough")


def rotate(world, old, new):
    urls = (world.engines.database_url, world.engines.redis_url)
    return asyncio.run(rotate_master(*urls, old, new, actor="tests"))


def published_by(world, signer, *, flush=False):
    """Publish with a signer, as `mesh serve` does; after Redis lost everything, if ``flush``."""

    async def through():
        async with (
            Database(world.engines.database_url) as database,
            connect_async(world.engines.redis_url, deadline=5) as redis,
        ):
            if flush:
                await redis.flushall()
            return await publish(PostgresSource(database), redis, signer=signer)

    return asyncio.run(through())


@pytest.fixture
def rotated(sealed, words):
    """Callers from before, and a publisher whose key was followed by another; set right again afterwards."""
    open_one = sealed.mesh()
    open_one.chat(sealed.alias_name, words.ASK)
    with sealed.mesh() as met:  # it knows the old publisher from its home, and is away meanwhile
        met.chat(sealed.alias_name, words.ASK)
    assert rotate(sealed, words.SIGNER, NEXT) >= 2
    yield open_one
    rotate(sealed, NEXT, words.SIGNER)


def test_callers_that_are_open_or_away_follow_also_after_redis_lost_everything(rotated, sealed, words):
    place = published_by(sealed, NEXT, flush=True)
    assert rotated._held.subscriber.wait(place.revision, 60)
    rotated.chat(sealed.alias_name, words.ASK)
    assert sealed.sent() == f"Bearer {words.CANARY}"
    assert rotated._held.subscriber.trust.publisher == NEXT.public
    with sealed.mesh() as back:
        assert back.config.snapshot().revision >= place.revision
        back.chat(sealed.alias_name, words.ASK)
        assert back._held.subscriber.trust.publisher == NEXT.public
    sealed.home = sealed.home.with_name("fresh")
    with sealed.mesh() as fresh:
        fresh.chat(sealed.alias_name, words.ASK)
        assert fresh._held.subscriber.trust.publisher == NEXT.public


def test_whoever_still_has_the_old_key_publishes_nothing_any_more(rotated, sealed, words):
    async def change():
        from mesh_store.admin import Admin

        urls = (sealed.engines.database_url, sealed.engines.redis_url)
        async with Admin.open(*urls, actor="tests", signer=words.SIGNER) as admin:
            await admin.update_team(sealed.team, description="by one who missed it")
            return admin.unpublished

    said = asyncio.run(change())
    assert NEXT.master.id in said, "it names what things are sealed under by now"
    published_by(sealed, NEXT)
    rotated.chat(sealed.alias_name, words.ASK)


def test_where_no_secret_is_stored_the_old_key_is_refused_by_name(words):
    """Nothing is sealed, so only the handover tells who may publish."""
    from mesh_store.sync.publisher import _hand_over

    class Handed:
        async def head(self): ...
        async def compile_snapshot(self): ...
        async def keys_since(self, keys_revision, limit): ...
        async def handovers(self):
            from mesh_store.model.signing import hand_over

            return [hand_over(words.SIGNER, NEXT)]

    nothing = channel.Heads(None, None, None)
    with pytest.raises(ConfigError, match=r"was followed by .*set the new MESH_SECRET_KEY"):
        asyncio.run(_hand_over(Handed(), None, words.SIGNER, nothing))


def test_a_key_that_comes_back_is_followed_back(rotated, sealed, words):
    rotate(sealed, NEXT, words.SIGNER)
    place = published_by(sealed, words.SIGNER)
    assert rotated._held.subscriber.wait(place.revision, 60)
    rotated.chat(sealed.alias_name, words.ASK)
    assert rotated._held.subscriber.trust.publisher == words.SIGNER.public
    rotate(sealed, words.SIGNER, NEXT)


def test_interrupted_after_its_commit_it_is_finished_by_whoever_publishes(sealed, words, monkeypatch):
    async def dies(*_, **__):
        raise OSError("killed here")

    mesh = sealed.mesh()
    mesh.chat(sealed.alias_name, words.ASK)
    with monkeypatch.context() as patched:
        patched.setattr("mesh_store.admin.secrets.publish", dies)
        with pytest.raises(OSError, match="killed here"):
            rotate(sealed, words.SIGNER, NEXT)
    try:
        place = published_by(sealed, NEXT)
        assert mesh._held.subscriber.wait(place.revision, 60)
        mesh.chat(sealed.alias_name, words.ASK)
        assert rotate(sealed, words.SIGNER, NEXT) == 0, "again, and nothing is left to do"
    finally:
        rotate(sealed, NEXT, words.SIGNER)
