"""The last good configuration on disk: found when Redis is away, honoured for a while, never older."""

from __future__ import annotations

import os
import stat

import pytest

from mesh_store.model import ConfigUnavailable
from mesh_store.model.signing import Signer
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect_async
from mesh_store.sync.disk import DISK_FORMAT, Disk, Kept, KeptKeys, merge
from mesh_store.sync.publisher import publish

KEY = b"k" * 32
OTHER = b"o" * 32


@pytest.fixture
async def filled(source, own_valkey, tmp_path, subscribe, helpers):
    """A folder that a closed subscriber left behind, and a server that is down."""
    source.commit()
    source.put_key(KEY)
    source.put_key(OTHER)
    async with connect_async(own_valkey.url, deadline=5) as aclient:
        await publish(source, aclient)
        with subscribe(own_valkey.url, disk=tmp_path) as subscriber:
            assert subscriber.snapshot().revision == 1
            source.commit()
            await publish(source, aclient)
            assert subscriber.wait(2, 60)
            assert subscriber.keys.lookup(KEY)
            assert subscriber.keys.lookup(OTHER)
            source.put_key(OTHER, revoked=True)
            await publish(source, aclient)
            helpers.eventually(lambda: subscriber.keys.lookup(OTHER) is None)
    own_valkey.kill()
    return tmp_path


def _file(folder):
    return next(folder.glob("*.mesh"))


async def test_a_process_boots_from_disk_when_redis_is_away_and_says_so(
    filled, own_valkey, subscribe, helpers
):
    subscriber = subscribe(own_valkey.url, disk=filled, poll_s=0.05)
    assert helpers.model_of(subscriber) == "model-2"
    assert subscriber.keys.lookup(KEY).team == "team-1"
    assert subscriber.keys.lookup(OTHER) is None
    helpers.eventually(lambda: subscriber.state == "stale")
    assert subscriber.age_s > 0
    assert "was last confirmed" in subscriber.status().disk


async def test_deltas_are_kept_beside_the_document_they_continue(filled):
    kept, _ = Disk(filled, "unix://x").read() or (None, None)
    assert kept is None
    files = list(filled.glob("*.mesh"))
    assert len(files) == 1
    from mesh_store.sync.disk import _decoder

    decoded = _decoder.decode(files[0].read_bytes())
    assert (decoded.revision, len(decoded.deltas)) == (2, 1)


async def test_only_its_owner_may_read_it(filled):
    assert stat.S_IMODE(_file(filled).stat().st_mode) == 0o600
    assert {path.suffix for path in filled.iterdir()} == {".mesh", ".lock"}


async def test_what_is_older_than_max_stale_is_not_used(filled, own_valkey, subscribe):
    long_ago = _file(filled).stat().st_mtime - 3_600
    os.utime(_file(filled), (long_ago, long_ago))
    subscriber = subscribe(own_valkey.url, disk=filled, max_stale_s=1_800)
    with pytest.raises(ConfigUnavailable, match=r"revision 2\) was last confirmed .* more than the 1800 s"):
        subscriber.snapshot()
    with pytest.raises(ConfigUnavailable):
        subscriber.keys.lookup(KEY)
    assert subscriber.keys.lookup(OTHER) is None


async def test_what_becomes_too_old_while_a_process_runs_is_no_longer_used(
    filled, own_valkey, subscribe, clock
):
    subscriber = subscribe(own_valkey.url, disk=filled, max_stale_s=1_800, clock=clock)
    assert subscriber.snapshot().revision == 2
    assert subscriber.keys.lookup(KEY)
    clock.now += 1_801
    with pytest.raises(ConfigUnavailable, match="more than the 1800 s allowed"):
        subscriber.snapshot()
    with pytest.raises(ConfigUnavailable):
        subscriber.keys.lookup(KEY)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data.replace(b"model-1", b"model-9")]
)
async def test_a_damaged_copy_is_not_used(filled, own_valkey, subscribe, damage, caplog):
    path = _file(filled)
    path.write_bytes(damage(path.read_bytes()))
    subscriber = subscribe(own_valkey.url, disk=filled)
    with pytest.raises(ConfigUnavailable, match="Disk: the copy"):
        subscriber.snapshot()


async def test_a_folder_that_cannot_be_written_stops_nothing(source, aclient, subscribe, tmp_path, caplog):
    source.commit()
    await publish(source, aclient)
    (tmp_path / "file").write_text("")
    subscriber = subscribe(disk=tmp_path / "file" / "folder")
    assert subscriber.snapshot().revision == 1
    subscriber.close()
    assert "cannot be kept" in caplog.text or "cannot be used" in caplog.text


async def test_redis_wins_over_an_older_copy(filled, source, own_valkey, subscribe):
    own_valkey.start()
    source.commit()
    async with connect_async(own_valkey.url, deadline=5) as aclient:
        await publish(source, aclient)
    assert subscribe(own_valkey.url, disk=filled).snapshot().revision == 3


async def test_a_copy_remembers_whom_to_believe(source, aclient, subscribe, tmp_path, helpers):
    source.commit()
    await publish(source, aclient, signer=Signer(b"s" * 32))
    subscriber = subscribe(disk=tmp_path)
    assert subscriber.snapshot().revision == 1
    subscriber.close()
    await aclient.delete(channel.SNAPSHOT, channel.HEAD, channel.DELTAS)
    source.commit()
    await publish(source, aclient, signer=Signer(b"x" * 32))
    again = subscribe(disk=tmp_path, poll_s=0.05)
    helpers.eventually(lambda: again.status().refused)
    assert again.snapshot().revision == 1
    assert again.trust.publisher == Signer(b"s" * 32).public


def _kept(revision, **keys):
    return Kept(DISK_FORMAT, "e", revision, b"snapshot", keys=KeptKeys(**keys))


def test_processes_sharing_a_folder_keep_the_newer_snapshot_and_both_ones_keys():
    there = _kept(5, seen="e 9", applied="e 9", entries={KEY: b"1", OTHER: b"2"}, revoked=(b"r",))
    mine = _kept(4, seen="e 7", applied="e 7", entries={b"m": b"3"}, revoked=(OTHER,), changed=(KEY,))
    merged = merge(there, mine)
    assert merged.revision == 5
    assert merged.keys == KeptKeys("e 9", "e 7", {b"m": b"3"}, (b"r", OTHER))


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    disk = Disk(tmp_path, "redis://here")
    disk.write(_kept(1), age_s=0)
    before = disk.path.read_bytes()

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        disk.write(_kept(2), age_s=0)
    assert disk.path.read_bytes() == before
    assert {path.suffix for path in tmp_path.iterdir()} == {".mesh", ".lock"}


def test_a_copy_is_as_old_as_its_last_confirmation_not_its_writing(tmp_path):
    disk = Disk(tmp_path, "redis://here")
    disk.write(_kept(1), age_s=500)
    assert 499 < disk.read()[1] < 510
    disk.confirm()
    assert disk.read()[1] < 5


def test_two_meshes_in_one_folder_do_not_meet(tmp_path):
    assert Disk(tmp_path, "redis://a").path != Disk(tmp_path, "redis://b").path
    assert Disk(tmp_path, "redis://u:old@a/0").path == Disk(tmp_path, "redis://u:new@a/0").path
