"""Redis flushed, restarted empty, or replaced by an older state: clients keep what they have."""

from __future__ import annotations

import msgspec
import pytest
from redis.exceptions import ResponseError

from mesh_store.model.ids import new_id
from mesh_store.model.signing import Place, Signer
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect, connect_async
from mesh_store.sync.publisher import publish

KEY, OTHER = b"k" * 32, b"o" * 32


async def _state(aclient):
    return {name: await aclient.dump(name) for name in await aclient.keys("mesh:*")}


async def _restore(aclient, state):
    await aclient.flushall()
    for name, dump in state.items():
        await aclient.restore(name, 0, dump)


async def test_a_flush_takes_nothing_away_and_publishing_heals_it(source, aclient, subscribe, helpers):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    assert subscriber.keys.lookup(KEY)
    await aclient.flushall()
    helpers.eventually(lambda: subscriber.state == "stale")
    assert subscriber.snapshot().revision == 1
    assert subscriber.keys.lookup(KEY)
    assert "went back to nothing" in subscriber.status().redis
    published = await publish(source, aclient)
    assert published.keys_written == 1
    helpers.eventually(lambda: subscriber.state == "live")


async def test_an_older_snapshot_in_redis_is_refused(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient)
    old = await _state(aclient)
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 2
    await _restore(aclient, old)
    helpers.eventually(lambda: subscriber.status().refused > 0)
    assert helpers.model_of(subscriber) == "model-2"
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(3, 60)
    assert helpers.model_of(subscriber) == "model-3"


async def test_an_older_snapshot_is_refused_though_the_head_claims_it_is_newer(
    source, aclient, subscribe, helpers
):
    signer = Signer(b"s" * 32)
    source.commit()
    await publish(source, aclient, signer=signer)
    old = await aclient.get(channel.SNAPSHOT)
    source.commit()
    await publish(source, aclient, signer=signer)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 2
    await aclient.set(channel.SNAPSHOT, old)
    await aclient.set(channel.HEAD, f"{source.epoch} 99")
    helpers.eventually(lambda: "this process has" in subscriber.status().redis)
    assert helpers.model_of(subscriber) == "model-2"


async def test_a_server_that_restarts_empty_is_filled_by_the_next_publish(
    source, own_valkey, subscribe, helpers
):
    source.commit()
    async with connect_async(own_valkey.url, deadline=5) as aclient:
        await publish(source, aclient)
    subscriber = subscribe(own_valkey.url, poll_s=0.1)
    assert subscriber.snapshot().revision == 1
    own_valkey.kill()
    own_valkey.start()
    source.commit()
    async with connect_async(own_valkey.url, deadline=5) as aclient:
        await publish(source, aclient)
    assert subscriber.wait(2, 60)


async def test_a_key_seen_revoked_stays_revoked_when_redis_is_replaced_by_an_older_state(
    source, aclient, subscribe, helpers
):
    source.commit()
    source.put_key(KEY)
    await publish(source, aclient)
    old = await _state(aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.keys.lookup(KEY)
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None)
    await _restore(aclient, old)
    helpers.eventually(lambda: "lost keys" in subscriber.status().redis)
    assert subscriber.keys.lookup(KEY) is None
    assert await subscriber.keys.alookup(KEY) is None
    await aclient.flushall()
    assert subscriber.keys.lookup(KEY) is None


async def test_a_key_seen_revoked_stays_revoked_though_its_old_entry_is_put_back(
    source, aclient, subscribe, helpers
):
    source.put_key(KEY)
    await publish(source, aclient)
    entry = await aclient.get(channel.key_name(KEY))
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.keys.lookup(KEY)
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None)
    await aclient.set(channel.key_name(KEY), entry)
    source.put_key(b"o" * 32)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.place.revision == 3)
    assert subscriber.keys.lookup(KEY) is None


async def test_an_older_entry_does_not_replace_a_newer_one(source, aclient, subscribe, helpers):
    source.put_key(KEY, team="old-team")
    await publish(source, aclient)
    entry = await aclient.get(channel.key_name(KEY))
    source.put_key(KEY, team="new-team")
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY).team == "new-team"
    await aclient.set(channel.key_name(KEY), entry)
    subscriber.keys._followed_until = 0
    assert subscriber.keys.lookup(KEY).team == "new-team"
    assert subscriber.status().keys_refused > 0


async def test_a_restored_database_begins_a_new_epoch_that_wins_with_lower_revisions(
    source, aclient, subscribe, helpers
):
    late = b"l" * 32
    source.commit()
    source.put_key(KEY)
    backup = source.copy()
    for _ in range(3):
        source.commit()
    source.put_key(late)
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 4
    assert subscriber.keys.lookup(late)
    assert (await publish(backup, aclient)).redis_ahead
    assert subscriber.snapshot().revision == 4
    backup.epoch = new_id()
    published = await publish(backup, aclient)
    assert (published.revision, published.redis_ahead) == (1, False)
    helpers.eventually(lambda: subscriber.snapshot().revision == 1)
    # Its entry still lies in Redis, but is of the epoch before.
    helpers.eventually(lambda: subscriber.keys.place.epoch == backup.epoch)
    assert subscriber.keys.lookup(late) is None
    assert subscriber.keys.lookup(KEY)


async def test_a_client_a_day_offline_does_not_go_backwards_on_return(
    source, aclient, valkey, tmp_path, subscribe
):
    for _ in range(3):
        source.commit()
    await publish(source, aclient)
    with_disk = subscribe(disk=tmp_path)
    assert with_disk.snapshot().revision == 3
    with_disk.close()
    await aclient.flushall()
    older = source.copy()
    older.revision = 2
    await publish(older, aclient)
    again = subscribe(disk=tmp_path)
    assert again.snapshot().revision == 3
    assert again.status().refused > 0


def test_places_order_by_epoch_first():
    assert Place("b", 1) > Place("a", 9) > Place("a", 8)


@pytest.mark.parametrize("wrong", ["nan", "1e3", "-1", "0x10", " 7 ", "", "12345678901234567"])
async def test_a_revision_that_is_not_a_whole_number_is_refused(aclient, wrong):
    names, argv = [channel.HEAD, channel.SNAPSHOT, channel.DELTAS], ["e", wrong, "x", "", "", 256, "news", 9]
    with pytest.raises(ResponseError, match="whole number"):
        await aclient.eval(channel._script("config_publish"), 3, *names, *argv)
    with pytest.raises(ResponseError, match="whole number"):
        await aclient.eval(channel._script("config_complete"), 1, channel.COMPLETE, "e", wrong, "news")
    with pytest.raises(ResponseError, match="whole number"):
        await aclient.eval(channel._script("config_keys"), 1, channel.CHANGED, "e", "0", wrong, "*", 9)
    assert await aclient.keys("mesh:*") == []


async def test_two_clients_that_read_the_same_redis_hold_equal_documents(source, aclient, valkey, subscribe):
    for number in range(5):
        source.commit(f"alias-{number}")
        await publish(source, aclient)
    with connect(valkey.url) as client:
        assert client.exists(channel.SNAPSHOT)
    one, two = subscribe(), subscribe()
    assert msgspec.to_builtins(one.snapshot().document) == msgspec.to_builtins(two.snapshot().document)
