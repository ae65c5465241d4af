"""Keys: found by one question, cached, bounded, and gone when revoked."""

from __future__ import annotations

import asyncio

import pytest

from mesh_store.model import ConfigError, ConfigUnavailable
from mesh_store.model.snapshot import KeyEntry
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect, connect_async
from mesh_store.sync import KeyCache
from mesh_store.sync.key_table import KeyTable, MovedOn, NoProof
from mesh_store.sync.publisher import publish
from mesh_store.sync.trust import Trust

KEY = b"k" * 32
OTHER = b"o" * 32
#: Less than a cache waits before it asks by itself because nobody followed.
UNFOLLOWED_S = 5.0


async def test_hits_and_misses_cost_one_question_each(source, aclient, client, subscribe, helpers):
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    before = helpers.questions(client)
    for _ in range(20):
        assert subscriber.keys.lookup(KEY) == KeyEntry(id=KEY.hex()[:8], team="team-1", revision=1)
        assert subscriber.keys.lookup(OTHER) is None
        assert await subscriber.keys.alookup(KEY)
        assert await subscriber.keys.alookup(OTHER) is None
    assert helpers.questions(client) - before == 2


async def test_a_new_key_is_found_though_it_was_missed_before(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY) is None
    source.put_key(KEY)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY))


async def test_a_changed_entry_is_read_again_without_being_asked_for(source, aclient, subscribe, helpers):
    source.put_key(KEY, team="before")
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY).team == "before"
    source.put_key(KEY, team="after")
    await publish(source, aclient)
    entries = subscriber.keys.table.entries
    helpers.eventually(lambda: KEY in entries and entries[KEY].entry.team == "after")


@pytest.mark.parametrize(("deaf", "poll_s"), [(False, 600.0), (True, 1.0)], ids=["with hints", "by the poll"])
async def test_a_revocation_takes_effect_in_time(source, aclient, subscribe, helpers, proxy, deaf, poll_s):
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe(proxy.url, poll_s=poll_s)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    proxy.deaf = deaf
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None)


async def test_a_miss_without_the_marker_proves_nothing_and_is_not_cached(
    source, aclient, subscribe, helpers
):
    source.put_key(KEY)
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    await aclient.delete(channel.COMPLETE, channel.key_name(KEY))
    with pytest.raises(ConfigUnavailable, match="nobody has published"):
        subscriber.keys.lookup(OTHER)
    with pytest.raises(ConfigUnavailable):
        await subscriber.keys.alookup(OTHER)
    assert subscriber.keys.lookup(KEY)
    source.put_key(OTHER)
    await publish(source, aclient)
    assert subscriber.keys.lookup(OTHER)


async def test_a_client_behind_the_list_of_changes_asks_for_its_keys_again(
    source, aclient, subscribe, proxy, monkeypatch, helpers
):
    monkeypatch.setattr(channel, "CHANGES_KEPT", 3)
    source.put_key(KEY)
    source.put_key(OTHER)
    await publish(source, aclient)
    subscriber = subscribe(proxy.url, poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    assert subscriber.keys.lookup(OTHER)
    proxy.deaf = True
    source.put_key(KEY, revoked=True)
    await publish(source, aclient)
    for number in range(5):
        source.put_key(bytes([number]) * 32)
        await publish(source, aclient)
    assert await aclient.xlen(channel.CHANGED) == 3
    assert subscriber.keys.lookup(KEY)
    proxy.deaf = False
    source.put_key(bytes([99]) * 32)
    await publish(source, aclient)
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None, UNFOLLOWED_S)
    assert subscriber.keys.lookup(OTHER)


async def test_a_bulk_import_is_told_as_all_and_the_list_stays_small(source, aclient, subscribe, helpers):
    source.put_key(KEY)
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    source.put_key(KEY, revoked=True)
    for number in range(2_000):
        source.put_key(number.to_bytes(32, "big"))
    assert (await publish(source, aclient)).keys_written == 2_001
    helpers.eventually(lambda: subscriber.keys.lookup(KEY) is None, UNFOLLOWED_S)
    assert await aclient.memory_usage(channel.CHANGED, samples=0) < 20_000
    assert subscriber.keys.lookup((1_999).to_bytes(32, "big"))


async def test_repeated_event_loops_each_get_their_own_connection(source, aclient, valkey):
    source.put_key(KEY)
    await publish(source, aclient)
    keys = KeyCache(valkey.url)

    def run():
        return asyncio.run(keys.alookup(KEY)).team

    assert [await asyncio.to_thread(run) for _ in range(3)] == ["team-1"] * 3


async def test_many_tasks_and_threads_may_ask_at_once(source, aclient, subscribe):
    for number in range(50):
        source.put_key(bytes([number]) * 32)
    await publish(source, aclient)
    keys = subscribe().keys
    digests = [bytes([number]) * 32 for number in range(50)] * 4
    found = await asyncio.gather(
        *(keys.alookup(digest) for digest in digests[:100]),
        *(asyncio.to_thread(keys.lookup, digest) for digest in digests[100:]),
    )
    assert all(found)


async def test_both_caches_are_bounded(source, aclient, valkey):
    for number in range(30):
        source.put_key(bytes([number]) * 32)
    await publish(source, aclient)
    keys = KeyCache(valkey.url, max_entries=10)
    for number in range(60):
        keys.lookup(bytes([number]) * 32)
    assert len(keys.table.entries) == len(keys.table._misses) == 10
    keys.close()


async def test_used_keys_work_without_redis_and_unused_ones_say_so(source, own_valkey, subscribe, helpers):
    source.put_key(KEY)
    async with connect_async(own_valkey.url, deadline=5) as aclient:
        await publish(source, aclient)
    subscriber = subscribe(own_valkey.url, poll_s=0.05)
    helpers.eventually(lambda: subscriber.state == "live")
    assert subscriber.keys.lookup(KEY)
    own_valkey.kill()
    helpers.eventually(lambda: subscriber.state == "stale")
    assert subscriber.keys.lookup(KEY)
    assert await subscriber.keys.alookup(KEY)
    with pytest.raises(ConfigUnavailable, match="the key cannot be checked"):
        subscriber.keys.lookup(OTHER)


async def test_wrong_credentials_are_a_mistake_and_never_a_missing_key(aclient, valkey):
    await aclient.execute_command("ACL", "SETUSER", "someone", "on", ">right")
    keys = KeyCache(valkey.url.replace("unix://", "unix://someone:wrong@"))
    with pytest.raises(ConfigError, match="password"):
        keys.lookup(KEY)
    with pytest.raises(ConfigError, match="password"):
        await keys.alookup(KEY)


async def test_an_answer_that_a_change_overtook_is_asked_for_again(source, aclient, valkey, clock):
    source.put_key(KEY)
    await publish(source, aclient)
    with connect(valkey.url) as client:
        table = KeyTable(Trust(), max_entries=10, max_stale_s=60, clock=clock)
        seen, on_its_way = table.seen, channel.read_key(client, KEY)
        source.put_key(KEY, revoked=True)
        await publish(source, aclient)
        complete = channel.read_heads(client).keys
        table.apply(channel.read_changes(client, complete._replace(revision=0), complete), complete)
        with pytest.raises(MovedOn):
            table.accept(KEY, on_its_way, seen)
        assert table.accept(KEY, channel.read_key(client, KEY), table.seen) is None


async def test_what_is_known_to_have_changed_is_not_used_until_it_was_read_again(
    source, aclient, valkey, clock
):
    source.put_key(KEY)
    await publish(source, aclient)
    with connect(valkey.url) as client:
        table = KeyTable(Trust(), max_entries=10, max_stale_s=60, clock=clock)
        table.confirm()
        first = channel.read_heads(client).keys
        table.apply([], first)
        assert table.accept(KEY, channel.read_key(client, KEY), table.seen)
        assert table.fallback(KEY)
        source.put_key(KEY, revoked=True)
        await publish(source, aclient)
        second = channel.read_heads(client).keys
        table.apply(channel.read_changes(client, first, second), second)
        assert table.fallback(KEY) is None
        assert table.changed() == [KEY]
        with pytest.raises(NoProof):
            table.accept(KEY, channel.Answer(None, first), second)


async def test_a_revocation_that_was_seen_outweighs_any_later_answer(source, aclient, valkey, clock):
    source.put_key(KEY)
    await publish(source, aclient)
    with connect(valkey.url) as client:
        table = KeyTable(Trust(), max_entries=10, max_stale_s=60, clock=clock)
        before = channel.read_key(client, KEY)
        source.put_key(KEY, revoked=True)
        await publish(source, aclient)
        assert table.accept(KEY, channel.read_key(client, KEY), table.seen) is None
        forged = before._replace(complete=channel.read_heads(client).keys)
        assert table.accept(KEY, forged, table.seen) is None
        assert table.is_revoked(KEY)


def test_entries_are_honoured_for_max_stale_and_no_longer(clock):
    table = KeyTable(Trust(), max_entries=10, max_stale_s=60, clock=clock)
    table.entries[KEY] = object.__new__(_Entry)
    table.confirm()
    clock.now += 59
    assert table.fallback(KEY)
    clock.now += 2
    assert table.fallback(KEY) is None


class _Entry:
    entry = KeyEntry(id="k", team="t")
