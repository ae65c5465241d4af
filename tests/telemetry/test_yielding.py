"""What only the stream holds is noted in the ring's header, and found there by who comes after."""

from __future__ import annotations

import mmap
from typing import Any

import pytest

from mesh_store.redis.stream import EntryId
from mesh_store.telemetry.files import RingFile
from mesh_store.telemetry.marks import Mark
from mesh_store.telemetry.orphan import OrphanDelivery
from mesh_store.telemetry.ring import HEADER, Ring
from mesh_store.telemetry.settling import Settlements
from mesh_store.telemetry.watch import Watch
from mesh_store.telemetry.yielding import NOTED, Sent, Yielded

MEMORY = HEADER + 64 * 1024


def ring() -> Ring:
    made = Ring.create(mmap.mmap(-1, MEMORY), "0" * 32, generation=1, pid=1, created_us=1)
    made.release(1_000_000)
    return made


def batches(count: int, gap: int = 0) -> list[Sent]:
    return [Sent(at * 100, at * 100 + 100 - gap, EntryId(at, 1), 7) for at in range(count)]


def ranges(sent: list[Sent]) -> list[tuple[int, int]]:
    return [(each.start, each.end) for each in sent]


@pytest.mark.parametrize("count", [1, NOTED, NOTED + 1, 40 * NOTED + 3])
@pytest.mark.parametrize("gap", [0, 8], ids=["side by side", "with gaps"])
def test_however_many_are_awaited_the_note_holds_them_all(count: int, gap: int) -> None:
    memory = ring()
    sent = batches(count, gap)
    Yielded(memory).add(sent)
    found = Yielded(memory)
    assert len(found.batches) <= NOTED
    assert sum(each.facts for each in found.batches) == 7 * count
    assert found.batches[-1].entry == sent[-1].entry
    found.confirm(ranges(sent[:-1]))
    assert [each.end for each in found.batches] == [sent[-1].end]
    found.confirm(ranges(sent))
    assert not found.batches
    assert not Yielded(memory).batches


def test_a_ring_whose_rest_is_in_postgres_waits_for_what_it_had_yielded(settled: Any) -> None:
    memory, stream = ring(), Any
    Yielded(memory).add(batches(1))
    orphan = OrphanDelivery(RingFile(memory, None, -1), Settlements(settled), stream, Watch(stream))  # type: ignore[arg-type]
    assert memory.tail >= memory.head
    assert not orphan.delivered
    orphan.yielded.confirm(ranges(batches(1)))
    assert orphan.delivered


def test_what_is_given_up_is_remembered_and_given_up_once() -> None:
    memory = ring()
    first = Yielded(memory)
    first.add(batches(3))
    first.confirm(ranges(batches(1)))
    first.doubt()
    again = Yielded(memory)
    again.doubt()
    assert (again.unconfirmed, list(again.batches)) == (14, [])


def test_what_was_noted_and_not_yet_given_back_is_still_in_the_ring() -> None:
    memory = ring()
    sent = [Sent(1_000_000, 1_000_100, EntryId(1, 1), 7), *batches(1)]
    Yielded(memory).add(sent)
    assert ranges(list(Yielded(memory).batches)) == [(0, 100)]


def test_a_damaged_note_says_nothing_and_a_torn_one_is_the_one_before() -> None:
    memory = ring()
    kept = Yielded(memory)
    kept.add(batches(2))
    word = memory.mark(Mark.NOTE)
    kept.add(batches(5)[2:])
    memory.set_mark(Mark.NOTE, word)  # killed before the word that makes it true
    assert len(Yielded(memory).batches) == 2
    memory.set_mark(Mark.NOTE, word ^ 1 << 40)
    assert not Yielded(memory).batches
