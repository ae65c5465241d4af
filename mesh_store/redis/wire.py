"""What the scripts are sent and what they answer: both directions, pure.

A charge travels as the index of its limit and two numbers, ``(a, b)``; for a rate limit they are
whole microseconds of debt and the remainder. One msgpack argument carries a whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import msgspec

from mesh_store.model.gcra import check_units, debt_of, drained_after, rate_of, units_left, wait_for
from mesh_store.model.limits import Charge, Limit
from mesh_store.redis.keys import hash_tag, record_key

DENIED, ADMITTED, DONE, REUSED = range(4)

_encode = msgspec.msgpack.Encoder().encode
_decode_answers = msgspec.msgpack.Decoder(list[int | list[int]]).decode
_decode_outcomes = msgspec.msgpack.Decoder(list[int]).decode


class Standing(NamedTuple):
    """How one limit stands after a decision; times in microseconds."""

    remaining: int
    wait_us: int | None
    reset_after_us: int


class Answer(NamedTuple):
    """A script's answer about the charges of one tag."""

    status: int
    now_us: int
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
        charges: the charges under it.
        positions: where each stands in the caller's list.
        lifetime_ms: how long the record is kept.
        max_wait_us: the longest wait that may be booked.
        shape: checksum of keys and rates; tells a replay from another use of the id.
    """

    id: str
    tag: str
    charges: list[Charge]
    positions: list[int]
    lifetime_ms: int = 0
    max_wait_us: int = 0
    shape: int = 0


def split(charges: Sequence[Charge], reservation_id: str, lifetime_ms: int, max_wait_us: int) -> list[Ask]:
    """Group charges by hash tag, in the order the tags first appear.

    Raises:
        ValueError: a key appears twice, or an amount or limit cannot be counted exactly.
    """
    asks: dict[str, Ask] = {}
    seen: set[str] = set()
    for position, charge in enumerate(charges):
        check_units("charge.amount", charge.amount)
        if charge.key in seen:
            raise ValueError(f"charge.key {charge.key!r} appears twice; add the amounts up")
        seen.add(charge.key)
        tag = hash_tag(charge.key)
        ask = asks.get(tag)
        if ask is None:
            ask = asks[tag] = Ask(reservation_id, tag, [], [], lifetime_ms, max_wait_us)
        ask.charges.append(charge)
        ask.positions.append(position)
        ask.shape = crc32(f"{charge.key} {rate_of(charge.limit).text}".encode(), ask.shape)
    return list(asks.values())


class Book:
    """The keys and limits of one script call; every key once."""

    __slots__ = ("_index", "keys", "limits")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.limits: list[tuple[int | str, ...]] = []
        self._index: dict[str, int] = {}

    def limit(self, charge: Charge) -> int:
        """Return the index of a charge's limit, adding it when new."""
        index = self._index.get(charge.key)
        if index is None:
            self.keys.append(charge.key)
            self.limits.append(_limit_argument(charge.limit, len(self.keys)))
            index = self._index[charge.key] = len(self.limits)
        return index

    def record(self, tag: str, reservation_id: str) -> int:
        """Add a record's key and return its index."""
        self.keys.append(record_key(tag, reservation_id))
        return len(self.keys)


def _limit_argument(limit: Limit, key_index: int) -> tuple[int | str, ...]:
    rate = rate_of(limit)
    return (1, key_index, rate.text, rate.units, rate.tau, rate.tau_rem, int(limit.hard))


def _taken(charges: Sequence[Charge], book: Book) -> list[int]:
    flat: list[int] = []
    for charge in charges:
        flat.append(book.limit(charge))
        flat += debt_of(rate_of(charge.limit), charge.amount)
    return flat


def pack_reserve(asks: Sequence[Ask], now_us: int) -> tuple[list[str], bytes]:
    """Pack requests of one tag for ``reserve.lua``."""
    book = Book()
    requests = []
    for ask in asks:
        flat = _taken(ask.charges, book)
        record = book.record(ask.tag, ask.id)
        requests.append((ask.id, record, ask.shape, ask.lifetime_ms, ask.max_wait_us, flat))
    return book.keys, _encode((now_us, book.limits, requests))


def read_reserve(reply: bytes, asks: Sequence[Ask]) -> list[Answer]:
    """Read the answers of ``reserve.lua`` in the order of the requests."""
    now_us, *answers = _decode_answers(reply)
    return [_answer(now_us, answer, ask) for answer, ask in zip(answers, asks, strict=True)]


def pack_peek(ask: Ask, now_us: int) -> tuple[list[str], bytes]:
    """Pack one request for ``peek.lua``."""
    book = Book()
    flat = _taken(ask.charges, book)
    return book.keys, _encode((now_us, book.limits, flat))


def pack_at_most(ask: Ask, now_us: int) -> tuple[list[str], bytes]:
    """Pack one request for ``at_most.lua``."""
    charge = ask.charges[0]
    keys = [charge.key, record_key(ask.tag, ask.id)]
    limit = _limit_argument(charge.limit, 1)
    return keys, _encode((now_us, limit, ask.id, ask.shape, ask.lifetime_ms, charge.amount))


def read_one(reply: bytes, ask: Ask) -> Answer:
    """Read the answer of ``peek.lua`` or ``at_most.lua``."""
    now_us, answer = _decode_answers(reply)
    return _answer(now_us, answer, ask)


def _answer(now_us: int | list[int], answer: int | list[int], ask: Ask) -> Answer:
    if not isinstance(now_us, int) or not isinstance(answer, list):
        raise msgspec.DecodeError("the script's answer has another shape")
    status, wait_us, expires = answer[:3]
    if status > ADMITTED:
        return Answer(status, now_us, 0, 0, [])
    standings = []
    at = 3
    for charge in ask.charges:
        rate = rate_of(charge.limit)
        micros, rem = answer[at], answer[at + 1]
        at += 2
        wait = 0 if status else wait_for(rate, micros, rem, charge.amount)
        standings.append(Standing(units_left(rate, micros, rem), wait, drained_after(micros, rem)))
    granted = answer[at] if at < len(answer) else 0
    return Answer(status, now_us, wait_us, expires, standings, granted)


class Adjustment(NamedTuple):
    """A settlement's part under one tag: what to add to, or take from, each charge."""

    ask: Ask
    deltas: list[int]
    cancel: bool


def pack_settle(adjustments: Sequence[Adjustment], now_us: int) -> tuple[list[str], bytes]:
    """Pack settlements of one tag for ``settle.lua``."""
    book = Book()
    settlements = []
    for ask, deltas, cancel in adjustments:
        flat: list[int] = []
        for charge, delta in zip(ask.charges, deltas, strict=True):
            flat.append(book.limit(charge))
            flat += debt_of(rate_of(charge.limit), abs(delta))
            flat.append(int(delta < 0))
        record = book.record(ask.tag, ask.id)
        settlements.append((ask.id, record, ask.shape, int(cancel), flat))
    return book.keys, _encode((now_us, book.limits, settlements))


def read_settle(reply: bytes) -> list[int]:
    """Read the outcomes of ``settle.lua`` in the order of the settlements."""
    return _decode_outcomes(reply)[1:]
