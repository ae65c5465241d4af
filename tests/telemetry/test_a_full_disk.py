"""A disk that is full for real: said, never a crash, and nothing that was settled is lost."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import Recorder, drain, housing
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.files import create, orphans
from mesh_store.telemetry.recorder import RING_BYTES
from mesh_store.telemetry.ring import Ring
from mesh_store.telemetry.writer import Writer

#: Room for one ring as a `Mesh` makes it, and little else.
SIZE = RING_BYTES + 4 * 1024 * 1024
RING = 1024 * 1024


class Disk:
    """A small file system."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._rest = place / "something else"

    def fill(self) -> None:
        """Leave no byte."""
        with self._rest.open("ab", buffering=0) as file:
            for size in (1024 * 1024, 4096, 1):
                with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                    while True:
                        file.write(bytes(size))

    def make_room(self) -> None:
        self._rest.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def stored(database_url: str, valkey: Any, postgres: Any) -> set[str]:
    collector = Collector(database_url, valkey.url, claim_s=0)
    await collector.collect_once()
    await collector.close()
    return {str(row["id"]) for row in await postgres.fetch("SELECT id FROM usage_events")}


async def test_a_ring_made_in_time_takes_records_on_a_full_disk_and_is_drained_there(
    kit: Any,
    disk: Disk,
    make_recorder: Callable[..., Recorder],
    valkey: Any,
    settled: Any,
    database_url: str,
    postgres: Any,
) -> None:
    """Its blocks were reserved: an empty page of a sparse file would end the process by SIGBUS."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        recorder = Recorder(disk.place, "unix:///nowhere", settler=settled, ring_bytes=RING)
        disk.fill()
        for _ in range(500):
            done = kit.call()[1]
            recorder.done(done)
            os.write(writing, f"{done.fact.id}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    with os.fdopen(reading) as said:
        promised = set(said.read().split())
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == -signal.SIGKILL
    assert len(promised) == 500

    assert drain(disk.place, valkey.url, settler=settled).facts == 500
    assert await stored(database_url, valkey, postgres) == promised
    assert drain(disk.place, valkey.url, settler=settled, wait_collected_s=5).delivered == 1
    assert not list((disk.place / "rings").iterdir())


def test_a_process_that_starts_on_a_full_disk_says_so_and_its_records_are_shipped(
    kit: Any, disk: Disk, make_recorder: Callable[..., Recorder], valkey: Any, caplog: Any
) -> None:
    disk.fill()
    recorder = make_recorder(home=disk.place)
    health = recorder.health()
    assert (health.mode, os.strerror(errno.ENOSPC) in str(health.reason)) == ("memory", True)
    assert [os.strerror(errno.ENOSPC) in record.message for record in caplog.records] == [True]
    for _ in range(100):
        recorder.done(kit.call()[1])
    assert recorder.flush(30)
    assert recorder.health().shipped == 100
    assert not list(disk.place.glob("rings/*"))


def test_once_there_is_room_the_next_process_has_a_file_and_this_one_moves_into_one(
    kit: Any,
    disk: Disk,
    make_recorder: Callable[..., Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(housing, "RETRY_S", 0.05)
    disk.fill()
    recorder = make_recorder(home=disk.place, ring_bytes=RING)
    recorder.done(kit.call()[1])
    assert recorder.flush(30)
    assert recorder.health().mode == "memory"
    disk.make_room()
    assert make_recorder(home=disk.place, ring_bytes=RING).health().mode == "file"
    kit.eventually(lambda: recorder.health().mode == "file", "the ring moved into a file")
    assert recorder.health().reason is None
    recorder.done(kit.call()[1])
    assert recorder.flush(30)
    assert recorder.health().shipped == 2


def _write_while_room_is_made(kit: Any, disk: Disk, settled: Any, told: int) -> None:
    housing.RETRY_S = 0.05
    disk.fill()
    recorder = Recorder(disk.place, "unix:///nowhere", settler=settled, ring_bytes=RING)
    for number in range(600):
        if number == 200:
            disk.make_room()
        while number == 400 and recorder.health().mode != "file":
            time.sleep(0.01)
        intent, done = kit.call()
        recorder.intent(intent)
        recorder.done(done)
        os.write(told, f"{done.fact.id}\n".encode())


async def test_what_was_in_memory_outlives_a_process_that_is_killed_after_its_ring_moved(
    kit: Any, disk: Disk, valkey: Any, settled: Any, database_url: str, postgres: Any
) -> None:
    """Redis is away all the while, so everything waits in the ring."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _write_while_room_is_made(kit, disk, settled, writing)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    with os.fdopen(reading) as said:
        promised = set(said.read().split())
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == -signal.SIGKILL
    assert len(promised) == 600
    delivered = drain(disk.place, valkey.url, settler=settled)
    assert (delivered.facts, delivered.lost, delivered.damaged) == (600, 0, 0)
    assert await stored(database_url, valkey, postgres) == promised


@pytest.mark.parametrize("laps", [0, 1, 5])
def test_a_ring_goes_on_in_its_file_where_it_stood(tmp_path: Path, laps: int) -> None:
    """Also what is written while the rest is copied, and what a finaliser writes at the last moment."""
    file = create(None, 64 * 1024)
    ring, writer = file.ring, Writer(file.ring)
    for number in range(laps * 1_000):
        ring.release(ring.head)
        assert writer.write(b"%d" % number * 20)
    ring.release(ring.head)
    kept = [b"kept %d" % number for number in range(300)]
    assert all(writer.write(record) for record in kept[:200])

    def pause(action: Callable[[], None]) -> None:
        assert all(writer.write(record) for record in kept[200:])

        def interrupted() -> None:
            writer.write(b"a finaliser")
            action()

        writer.pause(interrupted)

    file.move(tmp_path, pause)
    assert writer.write(b"after")
    expected = [*kept, b"a finaliser", b"after"]
    assert file.path is not None
    with file.path.open("r+b") as opened:
        again = Ring.open(mmap.mmap(opened.fileno(), 0))
    for each in (ring, again):
        assert [frame.payload for frame in each.frames(ring.tail, ring.head)] == expected
    assert (again.tail, again.head, again.identity) == (ring.tail, ring.head, ring.identity)
    assert list(orphans(tmp_path)) == []  # it is ours, and locked
    file.close()


def test_calls_go_on_when_the_disk_fills_and_when_it_was_full_from_the_start(world: Any, disk: Disk) -> None:
    """Rings, the last good configuration and entries of keys would all be written there."""
    before = world.mesh(home=disk.place)
    ask = [{"role": "user", "content": "who are you"}]
    before.chat(world.alias("one"), ask)
    disk.fill()
    after = world.mesh(home=disk.place)
    alias = world.alias("two")  # a change of the configuration, to be kept on disk
    for mesh in (before, after):
        assert mesh.chat(alias, ask).mesh.attempts == 1
        assert mesh.flush(30)
    assert [mesh.telemetry_health().mode for mesh in (before, after)] == ["file", "memory"]
    world.collect()
    assert len(world.rows("e.id")) == 3
