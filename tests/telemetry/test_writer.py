"""Who may write: any thread, a signal handler, a finaliser, and a ring without room."""

from __future__ import annotations

import mmap
import signal
import threading
from typing import Any

import pytest

from mesh_store.model.facts import Done
from mesh_store.telemetry import records
from mesh_store.telemetry.records import StoredClosed, StoredDone
from mesh_store.telemetry.ring import HEADER, Mark, Ring
from mesh_store.telemetry.writer import Writer


def new_ring(capacity: int = 1 << 20) -> Ring:
    return Ring.create(mmap.mmap(-1, HEADER + capacity), "0" * 32, generation=1, pid=1, created_us=1)


def payloads(ring: Ring) -> list[bytes | None]:
    return [frame.payload for frame in ring.frames(ring.tail, ring.head)]


def test_eight_threads_write_without_losing_or_tearing_a_record() -> None:
    ring = new_ring(4 << 20)
    writer = Writer(ring)
    barrier = threading.Barrier(8)

    def work(name: int) -> None:
        barrier.wait()
        for number in range(2000):
            writer.write(b"%d:%d" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(payloads(ring))) == 16_000
    assert writer.counts.emitted == 16_000


def test_a_signal_handler_may_write_while_it_interrupts_a_write() -> None:
    ring = new_ring()
    writer = Writer(ring)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        writer.write(b"signal %d" % handled)

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    written = 0
    try:
        while handled < 200 and written < 10_000:
            writer.write(b"call %d" % written)
            written += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    found = payloads(ring)
    assert len(set(found)) == len(found) == handled + written
    assert handled > 0


class Interrupted(Ring):
    """A ring whose next append is interrupted at its worst moment."""

    interruption: Any = None

    def append(self, payload: bytes, keep_free: int = 0) -> bool:
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            interruption()
        return super().append(payload, keep_free)


def test_a_write_within_a_write_waits_for_nobody_and_is_there_when_the_outer_one_returns() -> None:
    ring = Interrupted.create(mmap.mmap(-1, HEADER + 4096), "0" * 32, generation=1, pid=1, created_us=1)
    assert isinstance(ring, Interrupted)
    writer = Writer(ring)
    ring.interruption = lambda: writer.write(b"inner")
    writer.write(b"outer")
    assert payloads(ring) == [b"outer", b"inner"]
    assert writer.counts.reentered == 1


def test_an_interruption_that_raises_leaves_the_writer_usable() -> None:
    ring = Interrupted.create(mmap.mmap(-1, HEADER + 4096), "0" * 32, generation=1, pid=1, created_us=1)
    assert isinstance(ring, Interrupted)
    writer = Writer(ring)

    def interrupt() -> None:
        raise KeyboardInterrupt

    ring.interruption = interrupt
    with pytest.raises(KeyboardInterrupt):
        writer.write(b"never")
    thread = threading.Thread(target=writer.write, args=(b"after",))
    thread.start()
    thread.join(5)
    assert payloads(ring) == [b"after"]


def test_a_full_ring_drops_the_fact_and_keeps_the_settlement(kit: Any) -> None:
    ring = new_ring(64 * 1024)
    writer = Writer(ring)
    calls: list[Done] = [kit.call()[1] for _ in range(300)]
    taken = [writer.write(records.encode(done), done) for done in calls]
    found = [records.decode(payload) for payload in payloads(ring) if payload is not None]
    whole = [record for record in found if isinstance(record, StoredDone)]
    bare = [record for record in found if isinstance(record, StoredClosed)]

    assert 0 < sum(taken) == len(whole) < len(calls)
    assert bare[0].settlement is not None
    assert bare[0].settlement.revive() == calls[len(whole)].settlement
    assert bare[0].closes == calls[len(whole)].closes
    assert ring.mark(Mark.DROPPED) == writer.counts.dropped == len(calls) - len(whole)
    assert writer.counts.dropped_settlements == writer.counts.dropped - len(bare)


def test_facts_leave_room_for_the_settlements_that_follow_them(kit: Any) -> None:
    writer = Writer(new_ring(64 * 1024))
    dropped = 0
    while dropped < 20:
        done = kit.call()[1]
        dropped += not writer.write(records.encode(done), done)
    assert writer.counts.dropped_settlements == 0


def test_a_record_out_of_proportion_does_not_take_the_ring_for_itself(kit: Any) -> None:
    ring = new_ring(64 * 1024)
    writer = Writer(ring)
    huge = Done(kit.fact(end_user="x" * 60_000))
    assert not writer.write(records.encode(huge), huge)
    assert writer.write(b"the next one")
