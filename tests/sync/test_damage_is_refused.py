"""What is damaged in Redis, or poses as something else, is refused: clients keep what they have."""

from __future__ import annotations

import pytest

from mesh_store.model import ConfigUnavailable
from mesh_store.model.signing import Place, seal
from mesh_store.model.snapshot import encode
from mesh_store.redis import config_channel as channel
from mesh_store.sync.publisher import publish

KEY, OTHER = b"k" * 32, b"o" * 32


async def test_a_damaged_marker_of_the_keys_is_not_believed_and_the_true_one_is_again(
    source, aclient, subscribe, helpers
):
    source.put_key(KEY)
    source.put_key(OTHER)
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    helpers.eventually(lambda: subscriber.state == "live")
    true = await aclient.get(channel.COMPLETE)
    for place in range(len(true)):
        damaged = bytearray(true)
        damaged[place] ^= 1
        assert channel.parse_complete(bytes(damaged)) is None
    # An epoch of a far future, had it been believed, would outweigh every true one.
    await aclient.set(channel.COMPLETE, b"7" + true[1:])
    with pytest.raises(ConfigUnavailable, match="nobody has published"):
        subscriber.keys.lookup(OTHER)
    await publish(source, aclient)
    assert await aclient.get(channel.COMPLETE) == true
    assert subscriber.keys.lookup(OTHER)


async def test_a_damaged_snapshot_is_refused_and_the_last_good_one_stays(source, aclient, subscribe, helpers):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    genuine = bytearray(await aclient.get(channel.SNAPSHOT))
    for damage in (b"", b"\xc1", bytes(genuine[:-40]), bytes(genuine).replace(b"model-1", b"model-9")):
        refused = subscriber.status().refused
        await aclient.set(channel.SNAPSHOT, damage)
        await aclient.set(channel.HEAD, f"{source.epoch} 7")
        helpers.eventually(lambda refused=refused: subscriber.status().refused > refused)
        assert helpers.model_of(subscriber) == "model-1"
    assert subscriber.state in ("live", "stale")


async def test_a_snapshot_of_another_place_than_its_envelope_says_is_refused(
    source, aclient, subscribe, helpers
):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=0.05)
    assert subscriber.snapshot().revision == 1
    document = await source.compile_snapshot()
    place = Place(source.epoch, 9)
    await aclient.set(channel.SNAPSHOT, seal("snapshot", place, encode(document)))
    await aclient.set(channel.HEAD, str(place))
    helpers.eventually(lambda: "was published as" in subscriber.status().redis)
    assert subscriber.snapshot().revision == 1


async def test_a_damaged_delta_makes_the_client_load_the_document(source, aclient, subscribe, monkeypatch):
    source.commit()
    await publish(source, aclient)
    subscriber = subscribe(poll_s=600)
    assert subscriber.snapshot().revision == 1
    source.commit()
    genuine = channel.publish_snapshot

    async def damaged(redis, place, sealed, *, base, delta):
        return await genuine(redis, place, sealed, base=base, delta=delta[:-3] + b"xyz")

    monkeypatch.setattr(channel, "publish_snapshot", damaged)
    await publish(source, aclient)
    assert subscriber.wait(2, 60)
    assert subscriber._replica.loads == 2
    assert subscriber.status().refused > 0


async def test_a_delta_cannot_pose_as_a_snapshot_nor_one_keys_entry_as_anothers(
    source, aclient, subscribe, helpers
):
    source.put_key(b"a" * 32, team="rich")
    source.put_key(b"b" * 32, team="poor")
    await publish(source, aclient)
    subscriber = subscribe()
    rich = await aclient.get(channel.key_name(b"a" * 32))
    await aclient.set(channel.key_name(b"b" * 32), rich)
    helpers.eventually(lambda: subscriber.state == "live")
    with pytest.raises(ConfigUnavailable, match="does not match its digest"):
        subscriber.keys.lookup(b"b" * 32)
