"""The words in a ring's header that change: how far each step has come, and what found no room."""

from __future__ import annotations

from enum import IntEnum


class Mark(IntEnum):
    """Words of the header that change; positions unless said otherwise.

    Attributes:
        HEAD: where the next frame goes.
        TAIL: everything before is delivered for good.
        TAIL_CHECK: the tail's complement; a mismatch means a damaged header.
        SETTLED: every settlement before has been answered.
        SHIPPED: every fact before was put into the stream.
        ENTRY_MS, ENTRY_SEQUENCE: id of the newest stream entry.
        SERVER: fingerprint of the server that took it.
        CLOSED: every open intent before was shipped as ``lost``; set only by a drain.
        GONE_SINCE_US: wall clock since when the newest entry was seen missing, or 0.
        DROPPED, DROPPED_SETTLEMENTS: how many facts and settlements found no room, or could not be encoded.
        DROPPED_PICO_USD: what the calls of those facts cost.
        TOLD, TOLD_SETTLEMENTS, TOLD_MICRO_USD: how much of that everybody can read in Redis.
        NOTE: where the ring's note is, how long, and its CRC; see `Ring.note`.
        TOLD_UNCONFIRMED: how many of the facts whose stream was forgotten everybody can read in Redis.
    """

    HEAD = 0
    TAIL = 1
    TAIL_CHECK = 2
    SETTLED = 3
    SHIPPED = 4
    ENTRY_MS = 5
    ENTRY_SEQUENCE = 6
    SERVER = 7
    CLOSED = 8
    GONE_SINCE_US = 9
    DROPPED = 10
    DROPPED_SETTLEMENTS = 11
    DROPPED_PICO_USD = 12
    TOLD = 13
    TOLD_SETTLEMENTS = 14
    TOLD_MICRO_USD = 15
    NOTE = 16
    TOLD_UNCONFIRMED = 17
