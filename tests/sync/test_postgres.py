"""From a commit in Postgres to a caller's memory, on real engines."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from mesh_store.admin import Admin
from mesh_store.model import keys
from mesh_store.model.signing import Signer, trust_secret
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.postgres.repository import Repository
from mesh_store.redis.client import connect_async
from mesh_store.sync.listening import listen_to
from mesh_store.sync.publisher import publish, watch_and_publish
from mesh_store.sync.trust import Trust
from tests.conftest import SIGNER

_names = (f"sync{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def mesh_engines(new_engines):
    """Engines without the secrets that other tests store, which only their own publisher may publish."""
    return new_engines()


@pytest.fixture
async def admin(mesh_engines):
    urls = (mesh_engines.database_url, mesh_engines.redis_url)
    async with Admin.open(*urls, actor="tests", signer=SIGNER) as admin:
        await admin.publish()
        yield admin


@pytest.fixture
async def silent(mesh_engines):
    """An operator whose process dies between commit and publish, every time."""
    async with Database(mesh_engines.database_url) as database:
        yield Repository(database, actor="tests")


async def test_a_change_is_seen_by_a_caller_once_it_is_committed(admin, mesh_engines, subscribe):
    subscriber = subscribe(mesh_engines.redis_url, poll_s=600)
    subscriber.snapshot()
    loads = subscriber._replica.loads
    name = next(_names)
    team = await admin.create_team(name=name)
    await admin.create_provider(name=name, kind="openai", base_url="http://127.0.0.1:1/v1")
    await admin.create_alias(name=name, targets=[{"provider": name, "model": "small"}])
    head = await admin.database.head()
    snapshot = await asyncio.to_thread(subscriber.wait, head.revision, 60)
    assert snapshot.alias(name, team.id).targets[0].model == "small"
    assert subscriber._replica.loads == loads
    compiled = await PostgresSource(admin.database).compile_snapshot()
    assert snapshot.document.aliases == compiled.aliases


async def test_a_key_works_once_it_is_made_and_no_more_once_it_is_revoked(
    admin, mesh_engines, subscribe, helpers
):
    subscriber = subscribe(mesh_engines.redis_url, poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    team = await admin.create_team(name=next(_names))
    entity, minted = await admin.create_key(team=team.name)
    digest = keys.digest(minted.text)
    assert subscriber.keys.lookup(digest).team == team.id
    await admin.revoke_key(entity.id)
    # Heard of: the poll would take longer than anybody waits here.
    await asyncio.to_thread(helpers.eventually, lambda: subscriber.keys.lookup(digest) is None)


async def test_a_publisher_that_died_after_its_commit_is_finished_by_whoever_publishes_next(
    silent, admin, mesh_engines, subscribe
):
    await admin.publish()
    subscriber = subscribe(mesh_engines.redis_url)
    before = subscriber.snapshot().revision
    await silent.create_team(name=next(_names))
    head = await silent.database.head()
    assert head.revision > before
    async with connect_async(mesh_engines.redis_url, deadline=5) as redis:
        await publish(PostgresSource(silent.database), redis, signer=SIGNER)
    assert await asyncio.to_thread(subscriber.wait, head.revision, 60)


async def test_a_watching_publisher_hears_of_commits(silent, mesh_engines, subscribe):
    subscriber = subscribe(mesh_engines.redis_url, poll_s=600)
    stop = asyncio.Event()
    async with connect_async(mesh_engines.redis_url, deadline=5) as redis:
        source, listen = PostgresSource(silent.database), listen_to(mesh_engines.dsn)
        watching = asyncio.create_task(
            watch_and_publish(source, redis, stop, signer=SIGNER, listen=listen, poll_s=600)
        )
        for _ in range(3):
            await silent.create_team(name=next(_names))
            head = await silent.database.head()
            assert await asyncio.to_thread(subscriber.wait, head.revision, 60)
        stop.set()
        await watching


async def test_a_database_out_of_reach_is_polled_for(caplog, helpers):
    heard = asyncio.Event()
    async with listen_to("postgresql://nobody@127.0.0.1:1/none")(heard.set):
        await asyncio.to_thread(helpers.eventually, lambda: "found by the poll alone" in caplog.text)
    assert not heard.is_set()


async def test_the_database_keeps_what_lets_a_key_vouch_for_its_publisher(admin):
    team = await admin.create_team(name=next(_names))
    _, minted = await admin.create_key(team=team.name)
    digest = keys.digest(minted.text)
    secrets = await PostgresSource(admin.database).trust_secrets([digest])
    assert secrets == {digest: trust_secret(minted.text)}


async def test_a_callers_first_use_believes_only_the_publisher_its_key_was_made_by(
    admin, own_valkey, subscribe
):
    team = await admin.create_team(name=next(_names))
    _, minted = await admin.create_key(team=team.name)
    signer = Signer(b"s" * 32)
    async with connect_async(own_valkey.url, deadline=5) as redis:
        await publish(PostgresSource(admin.database), redis, signer=signer)
    trust = Trust(caller_key=minted.text)
    subscriber = subscribe(own_valkey.url, trust=trust)
    assert subscriber.snapshot().team(team.id)
    assert trust.publisher == signer.public
