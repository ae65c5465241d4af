"""What a ring is, written once at its beginning: twice, each copy with a CRC of its own."""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple
from zlib import crc32

MAGIC = b"MESHRING"
FORMAT = 1
#: Frames start at multiples of this, and the memory for them is one.
ALIGN = 8

_IDENTITY = struct.Struct("<8sI32sQQQQI")
_PLACES = (0, 1024)


class Identity(NamedTuple):
    """What a ring is; written once.

    Attributes:
        ring: 32 hex digits, unique.
        generation: raised when the same file is used anew.
        capacity: bytes for frames.
        pid: the process that made it.
        created_us: wall clock of its making.
    """

    ring: str
    generation: int
    capacity: int
    pid: int
    created_us: int


class NotARing(ValueError):
    """The file has no readable header: neither copy of the identity passes its check."""


def write_identity(memory: mmap.mmap, identity: Identity) -> None:
    """Write both copies."""
    words = (identity.generation, identity.capacity, identity.pid, identity.created_us)
    head = _IDENTITY.pack(MAGIC, FORMAT, identity.ring.encode(), *words, 0)[:-4]
    block = head + struct.pack("<I", crc32(head))
    for at in _PLACES:
        memory[at : at + len(block)] = block


def read_identity(memory: mmap.mmap) -> Identity:
    """Read the first copy that is sound.

    Raises:
        NotARing: when none is.
    """
    for at in _PLACES:
        block = memory[at : at + _IDENTITY.size]
        if len(block) < _IDENTITY.size or crc32(block[:-4]) != int.from_bytes(block[-4:], "little"):
            continue
        magic, form, ring, generation, capacity, pid, created_us, _ = _IDENTITY.unpack(block)
        if magic == MAGIC and form == FORMAT and capacity and capacity % ALIGN == 0:
            return Identity(ring.decode(), generation, capacity, pid, created_us)
    raise NotARing("no readable ring header")
