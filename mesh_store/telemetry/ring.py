"""A log in a fixed piece of memory: records are appended at the head and released at the tail.

Positions are *absolute* byte counts since the ring was made; ``position % capacity`` is the place in
memory. A frame carries its own position, so a frame of an earlier lap, a torn write or a flipped bit
can never pass for a record::

    position u64 | length u32 | CRC32 u32 | payload | padding to 8 bytes

The CRC is seeded with position and length. The header holds what identifies the ring (twice, each
with a CRC) and the *marks*: how far each step of the delivery has come. A `Ring` has one writer at
a time (see `mesh_store.telemetry.writer`); reading frames below the head needs no lock.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from mesh_store.telemetry.marks import Mark
from mesh_store.telemetry.ring_identity import ALIGN, Identity, NotARing, read_identity, write_identity

#: Bytes before the first frame: one page.
HEADER = 4096

_MARKS_AT = 2048
#: The header's two places for a note, and the bytes of each.
_NOTES_AT, NOTE_SIZE = (2304, 3200), 896
_FRAME = struct.Struct("<QII")
_FRAME_SIZE = _FRAME.size
_pack_into, _unpack_from = _FRAME.pack_into, _FRAME.unpack_from
_PAD = 0xFFFF_FFFF
_COPIED_AT_ONCE = 1024 * 1024
_MARKS_SIZE = len(Mark) * 8
_HEAD, _TAIL, _TAIL_CHECK = int(Mark.HEAD), int(Mark.TAIL), int(Mark.TAIL_CHECK)
_WORD = 2**64 - 1


class Frame(NamedTuple):
    """One record in the log; ``payload`` is None where the log is damaged."""

    start: int
    end: int
    payload: bytes | None


class Ring:
    """The log over a memory map.

    Attributes:
        identity: what was written when the ring was made.
        head, tail: positions; the log is what lies between.
        capacity: bytes for frames.
    """

    __slots__ = ("_data", "_marks", "_memory", "capacity", "head", "identity", "tail")

    def __init__(self, memory: mmap.mmap, identity: Identity) -> None:
        self._use(memory)
        self.identity = identity
        self.capacity = identity.capacity
        self.head = self._marks[_HEAD]
        self.tail = self._marks[_TAIL]

    @classmethod
    def create(cls, memory: mmap.mmap, ring: str, *, generation: int, pid: int, created_us: int) -> Ring:
        """Make an empty ring in zeroed memory."""
        capacity = (len(memory) - HEADER) // ALIGN * ALIGN
        identity = Identity(ring, generation, capacity, pid, created_us)
        write_identity(memory, identity)
        made = cls(memory, identity)
        made.release(0)
        return made

    @classmethod
    def open(cls, memory: mmap.mmap) -> Ring:
        """Read a ring that another process left, finding its true head and skipping what is damaged.

        Raises:
            NotARing: when the memory does not hold one.
        """
        identity = read_identity(memory)
        if len(memory) < HEADER:
            raise NotARing("the file ends within its header")
        ring = cls(memory, identity)
        ring._recover()
        return ring

    def append(self, payload: bytes, keep_free: int = 0) -> bool:
        """Append a record; False when it would leave less than ``keep_free`` bytes."""
        length = len(payload)
        size = (_FRAME_SIZE + length + 7) & -ALIGN
        head, capacity = self.head, self.capacity
        offset = head % capacity
        pad = 0 if offset + size <= capacity else capacity - offset
        if head + pad + size + keep_free > self.tail + capacity:
            return False
        memory = self._memory
        if pad:
            if pad >= _FRAME_SIZE:
                _pack_into(memory, HEADER + offset, head, _PAD, _seed(head, _PAD))
            head += pad
            offset = 0
        at = HEADER + offset
        _pack_into(memory, at, head, length, crc32(payload, (head ^ length) & 0xFFFF_FFFF))
        at += _FRAME_SIZE
        memory[at : at + length] = payload
        head += size
        # The record is whole before the head moves: a process killed here has not returned yet.
        self.head = head
        self._marks[_HEAD] = head
        return True

    def release(self, position: int) -> None:
        """Give the memory before ``position`` back."""
        self._marks[_TAIL_CHECK] = position ^ _WORD
        self._marks[_TAIL] = position
        self.tail = position

    def mark(self, which: Mark) -> int:
        """Read a mark."""
        return self._marks[which]

    def set_mark(self, which: Mark, value: int) -> None:
        """Write a mark; it survives the process."""
        self._marks[which] = value & _WORD

    def note(self, said: bytes) -> None:
        """Keep up to `NOTE_SIZE` bytes in the header instead of the last note; never a part of them."""
        which = 1 - (self._marks[Mark.NOTE] & 1)
        at = _NOTES_AT[which]
        self._memory[at : at + len(said)] = said
        self._marks[Mark.NOTE] = crc32(said) << 16 | len(said) << 1 | which

    def noted(self) -> bytes:
        """Return the last note; nothing where there is none or it is damaged."""
        word = self._marks[Mark.NOTE]
        at = _NOTES_AT[word & 1]
        said = self._memory[at : at + (word >> 1 & 0x7FFF)]
        return said if crc32(said) == word >> 16 else b""

    def frames(self, start: int, end: int) -> Iterator[Frame]:
        """Yield the records from ``start`` up to ``end``; a damaged stretch is one frame without payload."""
        memory, capacity, position = self._memory, self.capacity, start
        last = min(capacity, len(memory) - HEADER) - _FRAME_SIZE
        while position < end:
            offset = position % capacity
            if offset <= last:
                # The plain case of `_frame`, in place: this loop runs for every record at every step.
                stated, length, crc = _unpack_from(memory, HEADER + offset)
                if stated == position and length <= last - offset:
                    at = HEADER + offset + _FRAME_SIZE
                    payload = memory[at : at + length]
                    if crc32(payload, (position ^ length) & 0xFFFF_FFFF) == crc:
                        after = position + ((_FRAME_SIZE + length + 7) & -ALIGN)
                        yield Frame(position, after, payload)
                        position = after
                        continue
            frame = self._frame(position)
            if frame is None:
                frame = Frame(position, self._resync(position + ALIGN, end), None)
                yield frame
            elif frame.payload is not None:
                yield frame
            position = frame.end

    def copy(self, memory: mmap.mmap, start: int, end: int) -> None:
        """Copy the log between two positions into the same places of a memory of the same size."""
        while start < end:
            at = start % self.capacity
            size = min(end - start, self.capacity - at, _COPIED_AT_ONCE)
            memory[HEADER + at : HEADER + at + size] = self._memory[HEADER + at : HEADER + at + size]
            start += size

    def move(self, memory: mmap.mmap) -> None:
        """Go on in a memory that holds a copy of the log; nobody may write meanwhile."""
        memory[:HEADER] = self._memory[:HEADER]
        self._use(memory)

    def _use(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._marks = memoryview(memory)[_MARKS_AT : _MARKS_AT + _MARKS_SIZE].cast("Q")
        usable = (len(memory) - HEADER) // ALIGN * ALIGN
        self._data = memoryview(memory)[HEADER : HEADER + usable].cast("Q")

    def close(self) -> None:
        """Let go of the memory; the file stays as it is."""
        self._marks.release()
        self._data.release()
        self._memory.close()

    def _frame(self, position: int) -> Frame | None:
        """Return the frame at a position (without payload when it only fills up a lap), None if damaged."""
        offset = position % self.capacity
        room = self.capacity - offset
        if room < _FRAME_SIZE:
            return Frame(position, position + room, None)
        at = HEADER + offset
        if at + _FRAME_SIZE > len(self._memory):
            return None
        stated, length, crc = _unpack_from(self._memory, at)
        if stated != position:
            return None
        if length == _PAD:
            return Frame(position, position + room, None) if crc == _seed(position, _PAD) else None
        if length > room - _FRAME_SIZE or at + _FRAME_SIZE + length > len(self._memory):
            return None
        payload = self._memory[at + _FRAME_SIZE : at + _FRAME_SIZE + length]
        if crc32(payload, (position ^ length) & 0xFFFF_FFFF) != crc:
            return None
        return Frame(position, position + frame_size(length), payload)

    def _resync(self, position: int, end: int) -> int:
        """Return where the next sound frame starts, or ``end``."""
        data, capacity = self._data, self.capacity
        while position < end:
            word = position % capacity // ALIGN
            if word < len(data) and data[word] == position and self._frame(position) is not None:
                return position
            position += ALIGN
        return end

    def _recover(self) -> None:
        """Find tail and head of a log whose writer is gone.

        The head's mark may be older than the last frames (the host lost power) or damaged: frames
        vouch for themselves, so the log is read on while they do.
        """
        sound = self._marks[_TAIL] == self._marks[_TAIL_CHECK] ^ _WORD
        self.tail = self._marks[_TAIL] if sound else self._oldest()
        head = self._walk_to_head(self._marks[_HEAD])
        self.head = head
        self.release(self.tail)
        self._marks[_HEAD] = head
        for mark in (Mark.SETTLED, Mark.SHIPPED, Mark.CLOSED):
            self._marks[mark] = min(max(self._marks[mark], self.tail), head) if sound else self.tail

    def _walk_to_head(self, mark: int) -> int:
        """Return where the log ends: at the mark, or further where frames go on behind it."""
        limit = self.tail + self.capacity
        if not self.tail <= mark <= limit or mark % ALIGN:
            mark = limit
        position = last = self.tail
        while position < limit:
            frame = self._frame(position)
            if frame is not None:
                position = last = frame.end
            elif position < mark:
                position = self._resync(position + ALIGN, mark)
            else:
                break
        return last if mark == limit else max(last, mark)

    def _sound_positions(self) -> list[int]:
        words = self.capacity // ALIGN
        places = enumerate(self._data[: min(words, len(self._data))])
        return sorted(p for at, p in places if p % self.capacity == at * ALIGN and self._frame(p) is not None)

    def _oldest(self) -> int:
        """Return the oldest position that may still be in the log; old records too are better than none."""
        positions = self._sound_positions()
        if not positions:
            return 0
        newest = positions[-1]
        return next(p for p in positions if p > newest - self.capacity)


def frame_size(length: int) -> int:
    """Bytes a record of ``length`` bytes takes in the log."""
    return (_FRAME_SIZE + length + 7) & -ALIGN


def _seed(position: int, length: int) -> int:
    return crc32(b"", (position ^ length) & 0xFFFF_FFFF)


__all__ = ["ALIGN", "HEADER", "NOTE_SIZE", "Frame", "Identity", "Mark", "NotARing", "Ring", "frame_size"]
