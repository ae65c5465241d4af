"""A disk that is full for real: said, never a crash, and nothing that was settled is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import Recorder, drain
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.recorder import RING_BYTES

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


def test_the_next_process_has_a_file_again_once_there_is_room(
    kit: Any, disk: Disk, make_recorder: Callable[..., Recorder]
) -> None:
    disk.fill()
    assert make_recorder(home=disk.place).health().mode == "memory"
    disk.make_room()
    assert make_recorder(home=disk.place).health().mode == "file"


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
