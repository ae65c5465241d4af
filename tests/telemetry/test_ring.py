"""Laws of the log: what was appended is read back in order, and nothing else ever is."""

from __future__ import annotations

import mmap
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_store.telemetry.ring import HEADER, Mark, NotARing, Ring

CAPACITY = 2048
RING_ID = "0" * 32


def new_ring(capacity: int = CAPACITY) -> tuple[Ring, mmap.mmap]:
    memory = mmap.mmap(-1, HEADER + capacity)
    return Ring.create(memory, RING_ID, generation=1, pid=1, created_us=1), memory


def copy_of(memory: mmap.mmap, size: int | None = None) -> mmap.mmap:
    """What a later process finds in the file."""
    found = mmap.mmap(-1, size or len(memory))
    found[:] = memory[: len(found)]
    return found


def payloads(ring: Ring) -> list[bytes | None]:
    return [frame.payload for frame in ring.frames(ring.tail, ring.head)]


records = st.lists(st.binary(max_size=300), min_size=1, max_size=60)


@given(st.lists(st.one_of(st.binary(max_size=300), st.just(None)), max_size=120))
@settings(deadline=None)
def test_what_is_appended_is_read_in_order_through_any_number_of_laps(steps: list[bytes | None]) -> None:
    ring, _ = new_ring()
    model: deque[bytes] = deque()
    for step in steps:
        if step is None:
            frame = next(ring.frames(ring.tail, ring.head), None)
            if frame is not None:
                model.popleft()
                ring.release(frame.end)
        elif ring.append(step):
            model.append(step)
    assert payloads(ring) == list(model)
    assert ring.head - ring.tail <= CAPACITY


@given(records, st.integers(0, 40))
@settings(deadline=None)
def test_a_full_ring_refuses_and_is_not_changed_by_it(written: list[bytes], keep_free: int) -> None:
    ring, memory = new_ring()
    for record in written:
        before = copy_of(memory)
        if not ring.append(record, keep_free):
            assert memory[:] == before[:]
            assert len(record) + 16 + keep_free > CAPACITY - (ring.head - ring.tail) - 8 - 316
        assert ring.head - ring.tail <= CAPACITY - keep_free


def test_what_was_not_released_is_not_overwritten() -> None:
    ring, _ = new_ring()
    taken = [record for number in range(CAPACITY) if ring.append(record := f"{number:04}".encode())]
    assert 0 < len(taken) < CAPACITY
    assert payloads(ring) == taken


@given(records, st.integers(0, 30))
@settings(deadline=None)
def test_a_ring_found_again_holds_what_its_process_left(written: list[bytes], released: int) -> None:
    ring, memory = new_ring()
    for record in written:
        if not ring.append(record):
            ring.release(next(ring.frames(ring.tail, ring.head)).end)
    for _ in range(released):
        frame = next(ring.frames(ring.tail, ring.head), None)
        if frame is not None:
            ring.release(frame.end)
    found = Ring.open(copy_of(memory))
    assert payloads(found) == payloads(ring)
    assert (found.tail, found.identity) == (ring.tail, ring.identity)


@given(records)
@settings(deadline=None)
def test_records_behind_an_outdated_head_are_found(written: list[bytes]) -> None:
    ring, memory = new_ring(32 * 1024)
    for record in written:
        ring.append(record)
    everything = payloads(ring)
    ring.set_mark(Mark.HEAD, 0)
    assert payloads(Ring.open(copy_of(memory))) == everything


@given(records, st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_costs_at_most_one_record_and_invents_none(written: list[bytes], data: Any) -> None:
    ring, memory = new_ring()
    for record in written:
        if not ring.append(record):
            ring.release(next(ring.frames(ring.tail, ring.head)).end)
    before = payloads(ring)
    at = data.draw(st.integers(HEADER, HEADER + CAPACITY - 1))
    memory[at] ^= 1 << data.draw(st.integers(0, 7))
    found = [payload for payload in payloads(Ring.open(copy_of(memory))) if payload is not None]
    lost = len(before) - len(found)
    assert lost in (0, 1)
    rest = iter(before)
    assert all(payload in rest for payload in found)


@given(records, st.one_of(st.integers(2048, 2048 + 24), st.integers(0, HEADER - 1)), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_in_the_header_loses_no_record(written: list[bytes], at: int, bit: int) -> None:
    ring, memory = new_ring(32 * 1024)
    for record in written:
        ring.append(record)
    before = payloads(ring)
    memory[at] ^= 1 << bit
    found = payloads(Ring.open(copy_of(memory)))
    assert [payload for payload in found if payload is not None][-len(before) :] == before


@pytest.mark.parametrize("examples", [150, pytest.param(7_500, marks=pytest.mark.full)])
def test_any_damage_to_a_file_costs_what_it_hit_and_invents_nothing(examples: int) -> None:
    """Bits flipped anywhere, stretches of rubbish, a file cut short: what is found was written."""

    @given(records, st.data())
    @settings(max_examples=examples, deadline=None)
    def law(written: list[bytes], data: Any) -> None:
        ring, memory = new_ring()
        for record in written:
            if not ring.append(record):
                ring.release(next(ring.frames(ring.tail, ring.head)).end)
        for at, bit in data.draw(st.lists(st.tuples(st.integers(0, len(memory) - 1), st.integers(0, 7)))):
            memory[at] ^= 1 << bit
        for at, rubbish in data.draw(
            st.lists(st.tuples(st.integers(0, len(memory) - 64), st.binary(max_size=64)), max_size=3)
        ):
            memory[at : at + len(rubbish)] = rubbish
        size = data.draw(st.just(len(memory)) | st.integers(1, len(memory)))
        try:
            found = Ring.open(copy_of(memory, size))
        except NotARing:
            return
        assert {payload for payload in payloads(found) if payload is not None} <= set(written)

    law()


def test_a_write_that_was_torn_is_not_a_record() -> None:
    ring, memory = new_ring()
    ring.append(b"whole")
    whole = ring.head
    ring.append(b"this one was cut short" * 3)
    ring.set_mark(Mark.HEAD, whole)
    memory[HEADER + whole + 30 : HEADER + whole + 80] = bytes(50)
    assert payloads(Ring.open(copy_of(memory))) == [b"whole"]


def test_damage_is_one_frame_without_a_payload_so_that_it_can_be_counted() -> None:
    ring, memory = new_ring()
    for record in (b"a" * 40, b"b" * 40, b"c" * 40):
        ring.append(record)
    memory[HEADER + 56 + 20] ^= 0xFF
    assert payloads(ring) == [b"a" * 40, None, b"c" * 40]


def test_a_file_without_a_readable_header_is_not_a_ring() -> None:
    with pytest.raises(NotARing):
        Ring.open(mmap.mmap(-1, HEADER + 64))


def test_a_shortened_file_still_gives_what_it_holds() -> None:
    ring, memory = new_ring()
    ring.append(b"kept")
    assert payloads(Ring.open(copy_of(memory, HEADER + ring.head))) == [b"kept"]


@pytest.mark.full
@given(st.lists(st.binary(max_size=250), min_size=200, max_size=1000))
@settings(max_examples=200, deadline=None)
def test_long_lives_of_a_small_ring_lose_nothing(written: list[bytes]) -> None:
    ring, memory = new_ring()
    model: deque[bytes] = deque()
    for record in written:
        while not ring.append(record):
            ring.release(next(ring.frames(ring.tail, ring.head)).end)
            model.popleft()
        model.append(record)
        assert payloads(Ring.open(copy_of(memory))) == list(model)
