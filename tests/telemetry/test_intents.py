"""Intents of running calls: always in the ring, never in the way, and gone with their call."""

from __future__ import annotations

import mmap
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.facts import Cancel
from mesh_store.redis.stream import NO_ENTRY, Batch, EntryId, ServerState
from mesh_store.telemetry import records
from mesh_store.telemetry.orphan import _open_intents
from mesh_store.telemetry.own import OwnDelivery
from mesh_store.telemetry.ring import HEADER, Ring
from mesh_store.telemetry.settling import Away, Settlements
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.writer import Writer

CAPACITY = 64 * 1024


class Stream:
    """A stream in memory whose entries are committed when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Batch] = []
        self.done: list[tuple[int, int]] = []

    def add(self, batch: Batch) -> EntryId:
        self.sent.append(batch)
        return EntryId(1, len(self.sent))

    def reached(self, ring: str) -> EntryId:
        return NO_ENTRY

    def committed(self, ring: str, generation: int) -> list[tuple[int, int]]:
        return self.done

    def forget(self, ring: str, generation: int, starts: list[int]) -> None:
        pass

    def server(self) -> ServerState:
        return ServerState(1, 0.0)

    def commit(self, count: int) -> None:
        self.done += [
            (batch.start, batch.end) for batch in self.sent[len(self.done) : len(self.done) + count]
        ]


class Bench:
    """One ring with everything around it, moved by hand."""

    def __init__(self, settler: Any, capacity: int = CAPACITY) -> None:
        self.memory = mmap.mmap(-1, HEADER + capacity)
        self.ring = Ring.create(self.memory, "0" * 32, generation=1, pid=1, created_us=1)
        self.writer = Writer(self.ring)
        self.stream = Stream()
        watch = Watch(self.stream)  # type: ignore[arg-type]
        self.delivery = OwnDelivery(
            self.ring,
            self.writer,
            Settlements(settler),
            self.stream,  # type: ignore[arg-type]
            watch,
        )

    def write(self, *written: Any) -> None:
        for record in written:
            assert self.writer.write(records.encode(record), None, record)

    def ship(self) -> None:
        self.delivery.settle()
        self.delivery.ship(0.0, force=True)

    def acknowledge(self, entries: int) -> None:
        self.stream.commit(entries)
        self.delivery.acknowledge(1)

    def found_open(self) -> set[str]:
        """Ids of the calls a drain would call lost if this process died now."""
        found = mmap.mmap(-1, len(self.memory))
        found[:] = self.memory[:]
        return set(_open_intents(Ring.open(found)))


def test_an_open_intent_is_moved_out_of_the_way_and_stays_findable(kit: Any, settled: Any) -> None:
    bench = Bench(settled)
    running = kit.call()
    bench.write(running[0])
    for _ in range(20):
        bench.write(*[kit.call()[1] for _ in range(20)])
        bench.ship()
        bench.acknowledge(1)
        assert bench.found_open() == {running[0].lost.id}
    bench.write(running[1])
    bench.ship()
    assert bench.found_open() == set()


def test_a_call_that_ended_just_before_its_intent_was_moved_is_never_found_open(
    kit: Any, settled: Any
) -> None:
    bench = Bench(settled)
    running = kit.call()
    bench.write(running[0])
    bench.ship()
    bench.write(*[kit.call()[1] for _ in range(50)])
    bench.ship()
    bench.write(running[1])  # written, but not read by the shipper, when the intent is moved
    bench.acknowledge(1)
    bench.ship()
    assert bench.found_open() == set()
    bench.acknowledge(1)  # the entry that holds the ending; the copy lies behind it
    bench.write(*[kit.call()[1] for _ in range(5)])
    bench.ship()
    bench.acknowledge(0)
    assert bench.found_open() == set()
    bench.acknowledge(9)
    assert bench.found_open() == set()
    assert bench.ring.tail == bench.ring.head


def test_an_ending_stays_in_the_ring_as_long_as_the_copy_of_the_intent_it_ends(
    kit: Any, settled: Any
) -> None:
    bench = Bench(settled, 1 << 20)
    running = kit.call()
    bench.write(running[0], *[kit.call()[1] for _ in range(500)])
    bench.ship()
    # Written, but not read by the shipper, when the intent is moved: more than one step's worth.
    bench.write(running[1], *[kit.call()[1] for _ in range(700)])
    for _ in range(5):
        bench.acknowledge(1)
        assert bench.found_open() == set()
        bench.ship()
        assert bench.found_open() == set()
    assert bench.ring.tail == bench.ring.head


@given(
    st.lists(st.tuples(st.sampled_from(["begin", "end", "ship", "commit"]), st.integers(0, 9)), max_size=150)
)
@settings(max_examples=150, deadline=None)
def test_at_every_moment_the_calls_a_drain_would_find_are_those_that_run(
    kit: Any, steps: list[tuple[str, int]]
) -> None:
    bench = Bench(Quiet())
    running: dict[str, Any] = {}
    for step, number in steps:
        if step == "begin":
            intent, done = kit.call()
            bench.write(intent)
            running[intent.lost.id] = done
            bench.write(*[kit.call()[1] for _ in range(number)])
        elif step == "end" and running:
            bench.write(running.pop(list(running)[number % len(running)]))
        elif step == "ship":
            bench.ship()
        else:
            bench.ship()
            bench.acknowledge(number)
        assert bench.found_open() == set(running)
        bench.ship()
        bench.acknowledge(99 if bench.ring.head - bench.ring.tail > CAPACITY // 2 else 0)


def test_a_cancel_waits_for_redis_however_long_it_is_away(kit: Any, settled: Any) -> None:
    bench = Bench(settled)
    reservation = kit.reservation()
    bench.write(Cancel(reservation.id, reservation.charges))
    settled.failing = QuotaUnavailable("away")
    for _ in range(30):
        try:
            bench.delivery.settle()
        except Away:
            continue
        raise AssertionError("it was given up")
    settled.failing = None
    bench.delivery.settle()
    assert settled.cancelled == [reservation.id]


class Quiet:
    """A settler that agrees to everything."""

    def settle_all(self, settlements: Any) -> None:
        pass

    def cancel(self, reservation_id: str, charges: Any) -> None:
        pass

    def renew(self, reservations: Any) -> None:
        pass
