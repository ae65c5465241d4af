"""What is committed is seen: by hint, by poll, after lost hints and lost connections."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import NoPermissionError

from mesh_store.model import ConfigUnavailable
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect
from mesh_store.sync.publisher import publish


async def test_a_commit_is_seen_as_a_delta_without_loading_the_document_again(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    assert subscriber.snapshot().revision == 1
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(2, 60).revision == 2
    assert subscriber._replica.loads == 1
    assert subscriber.snapshot().document == await source.compile_snapshot()


async def test_a_listener_is_told_of_each_change_with_both_snapshots(source, aclient, subscribe, helpers):
    told = []
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(on_change=lambda old, new: told.append((old, new)))
    helpers.eventually(lambda: len(told) == 1)
    source.commit()
    await publish(source, aclient)
    helpers.eventually(lambda: len(told) == 2)
    assert told[0][0] is None
    assert told[1] == (told[0][1], subscriber.snapshot())


async def test_a_failing_listener_stops_nothing(source, aclient, subscribe, caplog):
    def fail(old, new):
        raise RuntimeError("a plugin's bug")

    subscriber = subscribe(on_change=fail)
    for _ in range(3):
        source.commit()
        await publish(source, aclient)
        assert subscriber.wait(source.revision, 60)
    assert "a listener failed on configuration revision" in caplog.text


async def test_a_listener_may_ask_for_the_snapshot(source, aclient, subscribe, helpers):
    seen = []
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(on_change=lambda old, new: seen.append(subscriber.snapshot()))
    helpers.eventually(lambda: seen)
    assert seen == [subscriber.snapshot()]


async def test_lost_messages_cost_one_poll(source, aclient, subscribe, proxy):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(proxy.url, poll_s=0.3)
    assert subscriber.snapshot().revision == 1
    proxy.deaf = True
    source.commit()
    await publish(source, aclient)
    started = time.monotonic()
    assert subscriber.wait(2, 60)
    assert time.monotonic() - started < 45
    assert proxy.lost == 1


async def test_a_connection_that_stays_deaf_is_made_anew(source, aclient, subscribe, proxy):
    subscriber = subscribe(proxy.url, poll_s=0.05)
    proxy.deaf = True
    for _ in range(20):
        source.commit()
        await publish(source, aclient)
        assert subscriber.wait(source.revision, 60)
    assert subscriber.status().connects > 1
    assert subscriber.status().redis == "Redis answered"


async def test_every_client_is_at_the_last_revision_though_connections_are_killed(source, aclient, subscribe):
    subscribers = [subscribe() for _ in range(8)]
    for _ in range(150):
        source.commit()
        await publish(source, aclient)
        if source.revision % 25 == 0:
            await aclient.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await aclient.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for subscriber in subscribers:
        assert subscriber.wait(150, 60), subscriber.status()
        assert subscriber.snapshot().document == await source.compile_snapshot()


async def test_a_killed_connection_is_noticed_without_waiting_for_the_poll(source, aclient, subscribe):
    subscriber = subscribe(poll_s=600)
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(1, 60)
    await aclient.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(2, 60)


async def test_a_client_behind_the_stream_loads_the_document(source, aclient, subscribe, proxy, monkeypatch):
    monkeypatch.setattr(channel, "DELTAS_KEPT", 4)
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(proxy.url, poll_s=600)
    assert subscriber.snapshot().revision == 1
    proxy.deaf = True
    for _ in range(9):
        source.commit()
        await publish(source, aclient)
    proxy.deaf = False
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(11, 60)
    assert subscriber._replica.loads == 2
    assert subscriber.status().refused == 0
    assert await aclient.xlen(channel.DELTAS) == 4


async def test_revisions_in_between_need_not_be_published(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    assert subscriber.snapshot().revision == 1
    for _ in range(5):
        source.commit()
    await publish(source, aclient)
    assert subscriber.wait(6, 60)
    assert subscriber._replica.loads == 1


async def test_the_rules_for_callers_are_enough_and_let_them_write_nothing(
    source, aclient, valkey, subscribe, helpers, caplog
):
    await aclient.execute_command("ACL", "SETUSER", "caller", "reset", "on", ">secret", *channel.CALLER_RULES)
    source.commit()
    source.put_key(b"k" * 32)
    await publish(source, aclient)
    url = valkey.url.replace("unix://", "unix://caller:secret@")
    subscriber = subscribe(url, poll_s=600)
    assert subscriber.snapshot().revision == 1
    assert subscriber.keys.lookup(b"k" * 32)
    assert await subscriber.keys.alookup(b"o" * 32) is None
    source.commit()
    source.put_key(b"k" * 32, revoked=True)
    await publish(source, aclient)
    assert subscriber.wait(2, 60)
    helpers.eventually(lambda: subscriber.keys.lookup(b"k" * 32) is None)
    subscriber.close()
    assert caplog.text == ""
    with connect(url) as caller, pytest.raises(NoPermissionError):
        caller.set(channel.HEAD, "forged 9")


async def test_without_permission_for_the_channel_changes_arrive_by_the_poll(
    source, aclient, valkey, subscribe, caplog
):
    await aclient.execute_command(
        "ACL", "SETUSER", "mute", "on", ">secret", "~mesh:{cfg}:*", "+@read", "+@connection", "+@pubsub"
    )
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(valkey.url.replace("unix://", "unix://mute:secret@"), poll_s=0.1)
    assert subscriber.snapshot().revision == 1
    source.commit()
    await publish(source, aclient)
    assert subscriber.wait(2, 60)
    assert "changes arrive by the poll" in caplog.text


def test_no_configuration_anywhere_names_what_was_tried(subscribe, client, tmp_path):
    subscriber = subscribe(disk=tmp_path)
    with pytest.raises(ConfigUnavailable, match=r"nobody has published yet.*there is no copy at"):
        subscriber.snapshot()
    assert subscriber.state == "none"


def test_an_unreachable_server_is_named_without_its_password(subscribe):
    subscriber = subscribe("redis://user:hunter2@127.0.0.1:1/0")
    with pytest.raises(ConfigUnavailable, match=r"redis://127.0.0.1:1/0: .*onnect") as caught:
        subscriber.snapshot()
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_said_to_be_one(subscribe, valkey, client):
    client.execute_command("ACL", "SETUSER", "someone", "on", ">right")
    subscriber = subscribe(valkey.url.replace("unix://", "unix://someone:wrong@"))
    with pytest.raises(ConfigUnavailable, match=r"Redis refused .*password"):
        subscriber.snapshot()


async def test_closing_is_quick_and_leaves_no_thread(source, aclient, subscribe):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    subscriber.snapshot()
    started = time.monotonic()
    await asyncio.to_thread(subscriber.close)
    assert time.monotonic() - started < 30
    assert not subscriber._follower.thread.is_alive()
