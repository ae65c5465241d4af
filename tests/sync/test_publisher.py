"""Publishing: idempotent, by anybody, killed anywhere, raced by others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mesh_store.model import ConfigError
from mesh_store.model.signing import Place, Signer, seal
from mesh_store.model.snapshot import encode
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect_async
from mesh_store.sync import publisher
from mesh_store.sync.publisher import publish, watch_and_publish

KEY = b"k" * 32


class Killed(BaseException):
    pass


async def test_publishing_twice_writes_once(source, aclient):
    source.commit()
    source.put_key(KEY)
    first = await publish(source, aclient)
    before = {name: await aclient.dump(name) for name in await aclient.keys("mesh:*")}
    second = await publish(source, aclient)
    assert (first.keys_written, second.keys_written) == (1, 0)
    assert first[:3] == second[:3] == (source.epoch, 1, 1)
    assert source.compiled == 1
    assert before == {name: await aclient.dump(name) for name in await aclient.keys("mesh:*")}


async def test_an_empty_database_is_published_too(source, aclient, subscribe):
    assert await publish(source, aclient) == (source.epoch, 0, 0, 0, False)
    subscriber = subscribe()
    assert subscriber.snapshot().revision == 0
    assert subscriber.keys.lookup(KEY) is None


async def test_a_snapshot_that_was_lost_alone_is_published_again(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient)
    await aclient.delete(channel.SNAPSHOT)
    await publish(source, aclient)
    assert subscribe().snapshot().revision == 1


@pytest.mark.parametrize("step", ["publish_keys", "publish_complete", "publish_snapshot"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_publisher_killed_anywhere_is_finished_by_the_next_one(
    source, aclient, subscribe, monkeypatch, step, when
):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.1)
    assert subscriber.snapshot().revision == 1
    assert subscriber.keys.lookup(KEY)
    source.commit()
    source.put_key(KEY, revoked=True)
    genuine = getattr(channel, step)

    async def killed(*args, **kwargs):
        if when == "after":
            await genuine(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(channel, step, killed)
        await publish(source, aclient)
    # Never a document newer than the keys beside it.
    heads = await channel.aread_heads(aclient)
    assert heads.snapshot.revision <= heads.keys.revision
    await publish(source, aclient)
    assert subscriber.wait(2, 60)
    assert subscriber.keys.lookup(KEY) is None


async def test_a_fill_that_is_killed_half_way_proves_no_key_missing(source, aclient, monkeypatch, subscribe):
    for number in range(10):
        source.put_key(bytes([number]) * 32)
    monkeypatch.setattr(publisher, "PAGE", 4)
    genuine, pages = channel.publish_keys, []

    async def killed(*args, **kwargs):
        if len(pages) == 2:
            raise Killed
        pages.append(await genuine(*args, **kwargs))
        return pages[-1]

    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(channel, "publish_keys", killed)
        await publish(source, aclient)
    assert (await channel.aread_heads(aclient)).keys is None
    subscriber = subscribe()
    with pytest.raises(Exception, match="nobody has published"):
        subscriber.keys.lookup(b"\x09" * 32)
    assert (await publish(source, aclient)).keys_written == 2
    assert subscriber.keys.lookup(b"\x09" * 32)


async def test_publishers_racing_end_at_the_newest_and_break_no_delta(source, valkey, aclient, subscribe):
    subscriber = subscribe()
    async with contextlib.AsyncExitStack() as stack:
        rivals = [await stack.enter_async_context(connect_async(valkey.url, deadline=5)) for _ in range(4)]
        for number in range(30):
            source.commit(f"alias-{number % 7}")
            source.put_key(bytes([number]) * 32)
            await asyncio.gather(*(publish(source.copy(), rival) for rival in rivals))
    assert subscriber.wait(30, 60)
    assert subscriber.snapshot().document == await source.compile_snapshot()
    assert subscriber.status().refused == 0
    for number in range(30):
        assert subscriber.keys.lookup(bytes([number]) * 32)


async def test_a_slow_publisher_never_brings_a_revoked_key_back(source, aclient, monkeypatch, subscribe):
    source.put_key(KEY)
    slow = source.copy()
    source.put_key(KEY, revoked=True)
    genuine, overtaken = channel.publish_keys, []

    async def overtaking(*args, **kwargs):
        if not overtaken:
            overtaken.append(True)
            await publish(source, aclient)
        return await genuine(*args, **kwargs)

    monkeypatch.setattr(channel, "publish_keys", overtaking)
    await publish(slow, aclient)
    assert subscribe().keys.lookup(KEY) is None
    assert (await channel.aread_heads(aclient)).keys.revision == 2


async def test_a_delta_made_from_what_was_replaced_meanwhile_is_made_anew(
    source, aclient, monkeypatch, subscribe
):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    assert subscriber.snapshot().revision == 1
    source.commit("other")
    rival = source.copy()
    source.commit()
    genuine, overtaken = channel.publish_snapshot, []

    async def overtaking(*args, **kwargs):
        if not overtaken:
            overtaken.append(True)
            await publish(rival, aclient)
        return await genuine(*args, **kwargs)

    monkeypatch.setattr(channel, "publish_snapshot", overtaking)
    await publish(source, aclient)
    assert subscriber.wait(3, 60)
    assert subscriber.snapshot().document == await source.compile_snapshot()
    assert subscriber._replica.loads == 1


async def test_an_older_document_without_a_base_is_stale_not_written(source, aclient):
    source.commit()
    older = await source.compile_snapshot()
    source.commit()
    await publish(source, aclient)
    before = await aclient.get(channel.SNAPSHOT)
    sealed = seal("snapshot", Place(source.epoch, 1), encode(older))
    for place in (Place(source.epoch, 1), Place(source.epoch, 2), Place("0", 99)):
        assert await channel.publish_snapshot(aclient, place, sealed, base=None, delta=b"") == "stale"
    assert await aclient.get(channel.SNAPSHOT) == before


async def test_redis_ahead_of_the_database_is_said_and_left_alone(source, aclient, caplog):
    source.commit()
    backup = source.copy()
    source.commit()
    await publish(source, aclient)
    published = await publish(backup, aclient)
    assert published.redis_ahead
    assert published.revision == 2
    assert "mesh migrate --restored" in caplog.text


async def test_a_publisher_without_the_secret_leaves_a_signed_mesh_alone(source, aclient):
    source.commit()
    await publish(source, aclient, signer=Signer(b"s" * 32))
    assert (await publish(source, aclient)).revision == 1
    source.commit()
    with pytest.raises(ConfigError, match="MESH_SECRET_KEY"):
        await publish(source, aclient)
    assert (await channel.aread_heads(aclient)).snapshot.revision == 1


async def test_watching_publishes_what_it_hears_of_and_what_it_polls(source, aclient, helpers, subscribe):
    wake = []

    @contextlib.asynccontextmanager
    async def listen(heard):
        wake.append(heard)
        yield
        wake.clear()

    stop = asyncio.Event()
    watching = asyncio.create_task(watch_and_publish(source, aclient, stop, listen=listen, poll_s=600))
    subscriber = subscribe()
    assert await asyncio.to_thread(subscriber.wait, 0, 60)
    source.commit()
    wake[0]()
    assert await asyncio.to_thread(subscriber.wait, 1, 60)
    stop.set()
    await watching
    assert not wake

    stop = asyncio.Event()
    watching = asyncio.create_task(watch_and_publish(source, aclient, stop, poll_s=0.05))
    source.commit()
    assert await asyncio.to_thread(subscriber.wait, 2, 60)
    stop.set()
    await watching


async def test_watching_outlives_a_redis_that_goes_away(source, own_valkey, subscribe, caplog):
    stop = asyncio.Event()
    async with connect_async(own_valkey.url, deadline=1) as aclient:
        watching = asyncio.create_task(watch_and_publish(source, aclient, stop, poll_s=0.05))
        subscriber = subscribe(own_valkey.url, poll_s=0.1)
        assert await asyncio.to_thread(subscriber.wait, 0, 60)
        own_valkey.kill()
        source.commit()
        await asyncio.sleep(0)
        await asyncio.to_thread(own_valkey.start)
        assert await asyncio.to_thread(subscriber.wait, 1, 60)
        stop.set()
        await watching
