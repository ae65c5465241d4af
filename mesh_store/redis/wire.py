"""What the scripts are sent and what they answer: both directions, pure.

A charge travels as the index of its limit and two numbers (`kinds`). One msgpack argument carries
a whole batch, so that the numbers of 64 requests cost one argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import msgspec

from mesh_store.model.limits import Charge
from mesh_store.model.windows import Window, window_of
from mesh_store.redis import kinds
from mesh_store.redis.keys import hash_tag, record_key, tracked_key, window_key
from mesh_store.redis.kinds import Standing

DENIED, ADMITTED, DONE, REUSED, ROLLED = range(5)

#: How long after a window's end the later tags of a reservation may still be charged to it.
GRACE_US = 5_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode_many = msgspec.msgpack.Decoder(list[list[int]]).decode
_decode_one = msgspec.msgpack.Decoder(list[int]).decode


class Answer(NamedTuple):
    """A script's answer about the charges of one tag; ``at_us`` is when it was given first."""

    status: int
    at_us: int
    wait_us: int
    expires_at_us: int
    standings: list[Standing]
    granted: int = 0


@dataclass(slots=True)
class Ask:
    """The charges of one request that share a hash tag: what one script call decides.

    Attributes:
        id: the reservation's id.
        tag: the hash tag.
        at_us: the moment whose calendar windows are charged.
        charges: the charges under it.
        positions: where each stands in the caller's list.
        lifetime_ms: how long the record is kept.
        max_wait_us: the longest wait that may be booked.
        shape: checksum of keys and rates; tells a replay from another use of the id.
        grace_us: how long after its end a window is still taken.
    """

    id: str
    tag: str
    at_us: int
    charges: list[Charge]
    positions: list[int]
    lifetime_ms: int = 1
    max_wait_us: int = 0
    shape: int = 0
    grace_us: int = 0

    def window(self, charge: Charge) -> Window | None:
        """Return the calendar window a charge belongs to, None for other kinds."""
        return window_of(charge.limit, self.at_us) if charge.limit.kind == "window" else None


def split(
    charges: Sequence[Charge], reservation_id: str, at_us: int, lifetime_ms: int = 1, max_wait_us: int = 0
) -> list[Ask]:
    """Group charges by hash tag, in the order the tags first appear.

    Raises:
        ValueError: a key appears twice, or an amount or limit cannot be counted exactly.
    """
    asks: dict[str, Ask] = {}
    seen: set[str] = set()
    for position, charge in enumerate(charges):
        terms = kinds.check(charge)
        key = charge.key
        if key in seen:
            raise ValueError(f"charge.key {key!r} appears twice; add the amounts up")
        seen.add(key)
        tag = hash_tag(key)
        ask = asks.get(tag)
        if ask is None:
            ask = asks[tag] = Ask(reservation_id, tag, at_us, [], [], lifetime_ms, max_wait_us)
        ask.charges.append(charge)
        ask.positions.append(position)
        ask.shape = crc32(f"{key} {terms}".encode(), ask.shape)
    return list(asks.values())


class Book:
    """The keys and limits of one script call; every key once."""

    __slots__ = ("_index", "_marker", "keys", "limits")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.limits: list[tuple[int | str, ...]] = []
        self._index: dict[str, int] = {}
        self._marker = 0

    def limit(self, charge: Charge, ask: Ask) -> int:
        """Return the index of a charge's limit, adding it when new."""
        window = ask.window(charge)
        key = charge.key if window is None else window_key(charge.key, window.start_us)
        index = self._index.get(key)
        if index is None:
            self.keys.append(key)
            key_index = len(self.keys)
            if window is not None:
                window = Window(window.start_us, window.end_us + ask.grace_us)
                if not self._marker:
                    self.keys.append(tracked_key(ask.tag))
                    self._marker = len(self.keys)
            self.limits.append(kinds.argument(charge.limit, key_index, self._marker, window))
            index = self._index[key] = len(self.limits)
        return index

    def record(self, ask: Ask) -> int:
        """Add a record's key and return its index."""
        self.keys.append(record_key(ask.tag, ask.id))
        return len(self.keys)


def _taken(ask: Ask, book: Book) -> list[int]:
    flat: list[int] = []
    for charge in ask.charges:
        flat.append(book.limit(charge, ask))
        flat += kinds.pair(charge.limit, charge.amount)
    return flat


def pack_reserve(asks: Sequence[Ask], now_us: int) -> tuple[list[str], bytes]:
    """Pack requests of one tag for ``reserve.lua``."""
    book = Book()
    requests = []
    for ask in asks:
        flat = _taken(ask, book)
        requests.append((ask.id, book.record(ask), ask.shape, ask.lifetime_ms, ask.max_wait_us, flat))
    return book.keys, _encode((now_us, book.limits, requests))


def read_reserve(reply: bytes, asks: Sequence[Ask]) -> list[Answer]:
    """Read the answers of ``reserve.lua`` in the order of the requests."""
    return [_answer(answer, ask) for answer, ask in zip(_decode_many(reply), asks, strict=True)]


def pack_peek(ask: Ask, now_us: int) -> tuple[list[str], bytes]:
    """Pack one request for ``peek.lua``."""
    book = Book()
    flat = _taken(ask, book)
    return book.keys, _encode((now_us, book.limits, flat))


def pack_at_most(ask: Ask, now_us: int) -> tuple[list[str], bytes]:
    """Pack one request for ``at_most.lua``."""
    book = Book()
    charge = ask.charges[0]
    book.limit(charge, ask)
    book.record(ask)
    return book.keys, _encode((now_us, book.limits[0], ask.id, ask.shape, ask.lifetime_ms, charge.amount))


def read_one(reply: bytes, ask: Ask) -> Answer:
    """Read the answer of ``peek.lua`` or ``at_most.lua``."""
    return _answer(_decode_one(reply), ask)


def _answer(answer: list[int], ask: Ask) -> Answer:
    status, at_us, wait_us, expires, *told = answer
    if status > ADMITTED:
        return Answer(status, at_us, 0, 0, [])
    windows = [ask.window(charge) for charge in ask.charges]
    ends = [window.end_us if window else 0 for window in windows]
    standings = kinds.standings(ask.charges, told, at_us, ends)
    return Answer(status, at_us, wait_us, expires, standings, told[-1])


class Adjustment(NamedTuple):
    """A settlement's part under one tag: what to add to, or take from, each charge.

    Attributes:
        ask: the charges; ``at_us`` says whose windows.
        deltas: signed units per charge.
        cancel: True to give everything back.
        before: cancel the entries of the preceding windows too, when nobody knows which was charged.
    """

    ask: Ask
    deltas: list[int]
    cancel: bool = False
    before: bool = False


def pack_settle(adjustments: Sequence[Adjustment], now_us: int) -> tuple[list[str], bytes]:
    """Pack settlements of one tag for ``settle.lua``."""
    book = Book()
    settlements = []
    for adjustment in adjustments:
        ask = adjustment.ask
        flat: list[int] = []
        for charge, delta in zip(ask.charges, adjustment.deltas, strict=True):
            flat += (book.limit(charge, ask), *_adjusted(charge, delta))
        if adjustment.before:
            for charge in ask.charges:
                window = ask.window(charge)
                if window is not None:
                    earlier = msgspec.structs.replace(charge, amount=0)
                    preceding = Ask(ask.id, ask.tag, window.start_us - 1, [earlier], [0])
                    flat += (book.limit(earlier, preceding), 0, 0, 0)
        settlements.append((ask.id, book.record(ask), ask.shape, int(adjustment.cancel), flat))
    return book.keys, _encode((now_us, book.limits, settlements))


def _adjusted(charge: Charge, delta: int) -> tuple[int, int, int]:
    """A rate is given its delta, slots are all released, a budget's entry becomes the actual."""
    if charge.limit.kind == "rate":
        return (*kinds.pair(charge.limit, abs(delta)), int(delta < 0))
    if charge.limit.kind == "slots":
        return (charge.amount, 0, 1)
    return (*kinds.pair(charge.limit, charge.amount + delta), 0)


def pack_renew(asks: Sequence[Ask], now_us: int) -> tuple[list[str], bytes]:
    """Pack renewals of one tag for ``renew.lua``; only slots are renewed."""
    book = Book()
    renewals = []
    for ask in asks:
        held: list[int] = []
        for charge in ask.charges:
            if charge.limit.kind == "slots":
                held += (book.limit(charge, ask), charge.amount)
        renewals.append((ask.id, book.record(ask), ask.lifetime_ms, held))
    return book.keys, _encode((now_us, book.limits, renewals))


def pack_commit(
    charge: Charge, at_us: int, spent_pico: int, version: int, ids: Sequence[str], now_us: int
) -> tuple[list[str], bytes]:
    """Pack what the ledger counted in one window for ``commit.lua``."""
    book = Book()
    book.limit(charge, Ask("", hash_tag(charge.key), at_us, [charge], [0]))
    return book.keys, _encode((now_us, book.limits[0], *kinds.pair(charge.limit, spent_pico), version, ids))


def read_outcomes(reply: bytes) -> list[int]:
    """Read the outcomes of ``settle.lua`` or ``renew.lua`` in the order asked."""
    return _decode_one(reply)[1:]


def read_committed(reply: bytes) -> bool:
    """Read the answer of ``commit.lua``."""
    return _decode_one(reply) == [1]


def raw(reply: object) -> bytes:
    """Refuse a reply that is not a packed one: the connection got out of step."""
    if not isinstance(reply, bytes):
        raise msgspec.DecodeError(f"a script answered {type(reply).__name__} instead of bytes")
    return reply
