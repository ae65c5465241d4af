"""Records are kept in memory so that they need not be read from the ring: a shortcut, never a difference."""

from __future__ import annotations

import mmap
from typing import Any

import msgspec
import redis.exceptions
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh_store.model.facts import Fact
from mesh_store.redis.stream import NO_ENTRY, Batch, EntryId, ServerState
from mesh_store.telemetry import delivery, ready, records
from mesh_store.telemetry import writer as writer_module
from mesh_store.telemetry.own import OwnDelivery
from mesh_store.telemetry.ready import Part, Ready
from mesh_store.telemetry.ring import HEADER, Ring
from mesh_store.telemetry.settling import Away, Settlements
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.writer import Writer

CAPACITY = 256 * 1024


class Server:
    """Both servers in memory; while it is away every call fails."""

    def __init__(self) -> None:
        self.away = False
        self.sent: list[Batch] = []
        self.settled: list[tuple[str, tuple[int, ...]]] = []
        self.cancelled: list[str] = []

    def _answer(self) -> None:
        if self.away:
            raise redis.exceptions.ConnectionError("away")

    def add(self, batch: Batch) -> EntryId:
        self._answer()
        self.sent.append(batch)
        return EntryId(1, len(self.sent))

    def committed(self, ring: str, generation: int) -> list[tuple[int, int]]:
        self._answer()
        return [(batch.start, batch.end) for batch in self.sent]

    def reached(self, ring: str) -> EntryId:
        self._answer()
        return NO_ENTRY

    def forget(self, ring: str, generation: int, starts: list[int]) -> None:
        self._answer()

    def server(self) -> ServerState:
        self._answer()
        return ServerState(1, 0.0)

    def settle_all(self, settlements: Any) -> None:
        self._answer()
        self.settled += [(reservation.id, tuple(deltas)) for reservation, deltas in settlements]

    def cancel(self, reservation_id: str, charges: Any) -> None:
        self._answer()
        self.cancelled.append(reservation_id)

    def renew(self, reservations: Any) -> None:
        self._answer()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 40)),
        st.sampled_from([("settle", 0), ("ship", 0), ("away", 0), ("back", 0), ("forget", 0), ("again", 0)]),
        st.sampled_from([("acknowledge", 0), ("late", 0)]),
    ),
    max_size=30,
)


REFUSED = [("call", 40), ("away", 0), ("settle", 0), ("back", 0), ("call", 5), ("settle", 0), ("ship", 0)]
LATE = [("call", 5), ("late", 0), ("call", 5), ("settle", 0), ("ship", 0)]


@example(REFUSED, 50, 1 << 21)
@example(LATE, 50, 1 << 21)
@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 50), st.sampled_from([1, 700, 1 << 21]))
def test_whatever_is_kept_or_forgotten_the_same_facts_arrive_in_order(
    kit: Any, steps: list[tuple[str, int]], fresh: int, kept: int
) -> None:
    memory, server = mmap.mmap(-1, HEADER + CAPACITY), Server()
    ring = Ring.create(memory, "0" * 32, generation=1, pid=1, created_us=1)
    writer = Writer(ring)
    before = writer_module.FRESH_RECORDS, ready.KEPT_BYTES, delivery.BATCH_FACTS
    writer_module.FRESH_RECORDS, ready.KEPT_BYTES, delivery.BATCH_FACTS = fresh, kept, 30
    try:
        own = OwnDelivery(ring, writer, Settlements(server), server, Watch(server))  # type: ignore[arg-type]
        written = _play(kit, steps, writer, own, server)
    finally:
        writer_module.FRESH_RECORDS, ready.KEPT_BYTES, delivery.BATCH_FACTS = before
    shipped = [
        fact.id for batch in server.sent for fact in msgspec.msgpack.decode(batch.body, type=list[Fact])
    ]
    assert list(dict.fromkeys(shipped)) == [done.fact.id for done in written]
    expected = {done.settlement.reservation.id: done.settlement.deltas for done in written}
    assert dict(server.settled) == expected
    assert list(dict.fromkeys(name for name, _ in server.settled)) == list(expected)
    ends = [batch.end for batch in server.sent]
    if ("again", 0) not in steps:
        assert ends == sorted(ends)
        assert len(shipped) == len(written)
    assert own.open_intents == 0
    assert ring.tail == ring.head


def _play(kit: Any, steps: list[tuple[str, int]], writer: Writer, own: OwnDelivery, server: Server) -> Any:
    written = []
    for step, count in [*steps, ("back", 0)]:
        for _ in range(count):
            intent, done = kit.call()
            for record in (intent, done):
                if not writer.write(records.encode(record), done if record is done else None, record):
                    return written if record is intent else [*written, done]
            written.append(done)
        _turn(step, writer, own, server)
    while own.shipped < own.ring.head:
        own.settle()
        own.ship(1e9, force=True)
    own.acknowledge(1)
    return written


def _turn(step: str, writer: Writer, own: OwnDelivery, server: Server) -> None:
    if step in ("away", "back"):
        server.away = step == "away"
    elif step == "forget":
        writer.fresh.clear()
    elif step == "again":
        own._send_again()
    elif step == "late":
        # The thread that delivers may see a record in the ring before its writer has kept it.
        late = [writer.fresh.pop() for _ in range(len(writer.fresh))]
        _turn("settle", writer, own, server)
        writer.fresh.extend(reversed(late))
    elif step in ("settle", "ship", "acknowledge"):
        try:
            if step == "settle":
                own.settle()
            elif step == "ship":
                own.ship(0.0, force=True)
            else:
                own.acknowledge(1)
        except Away:
            assert server.away


@given(st.lists(st.integers(1, 90)), st.lists(st.integers(0, 20), min_size=1), st.integers(1, 200))
def test_parts_come_out_as_they_went_in_and_never_larger_than_asked(
    sizes: list[int], jumps: list[int], most: int
) -> None:
    kept, position = Ready(), 0
    for size in sizes:
        facts: list[Any] = [b"x"] * size
        kept.add(Part(position, position + size, facts, [], size))
        position += size
    at = 0
    for jump in jumps * 3:
        part = kept.take(at, most, most)
        if part is None:
            at += jump
            continue
        assert part.start == at
        assert len(part.facts) == part.size == part.end - part.start <= most
        at = part.end
    assert kept.start is None or kept.start >= at or at < position
