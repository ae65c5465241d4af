"""What the scripts are sent and what they answer: both directions, pure.

The first argument carries the time and the limits, each further one a request; numbers are msgpack
values one after the other, which Lua reads in one step without building tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import msgspec

from mesh_store.model.limits import Charge
from mesh_store.redis import scripts
from mesh_store.redis.keys import hash_tag, record_key, tracked_key
from mesh_store.redis.kinds import RateTerm, SlotsTerm, Standing, Term, WindowTerm, place_of, term_of
from mesh_store.redis.scripts import Script

DENIED, ADMITTED, DONE, REUSED, ROLLED = range(5)

#: How long after a window's end the later tags of a reservation may still be charged to it.
GRACE_US = 5_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


class Call(NamedTuple):
    """A script with what it is sent; the result is its reply."""

    script: Script
    keys: list[str]
    arguments: list[bytes | str]


class Answer(NamedTuple):
    """A script's answer about one tag, first given ``at_us``; ``shadow_denied`` are the caller's places."""

    status: int
    at_us: int
    wait_us: int
    expires_at_us: int
    standings: list[Standing]
    granted: int = 0
    shadow_denied: Sequence[int] = ()


@dataclass(slots=True)
class Ask:
    """The charges of one request that share a hash tag: what one script call decides.

    Attributes:
        id: the reservation's id.
        tag: the hash tag.
        at_us: the moment whose calendar windows are charged.
        terms: the charges under it.
        positions: where each stands in the caller's list.
        lifetime_ms: how long the record is kept.
        max_wait_us: the longest wait that may be booked.
        shape: checksum of keys and rates; tells a replay from another use of the id.
        grace_us: how long after its end a window is still taken.
    """

    id: str
    tag: str
    at_us: int
    terms: list[Term]
    positions: list[int]
    lifetime_ms: int = 1
    max_wait_us: int = 0
    shape: int = 0
    grace_us: int = 0

    @property
    def charges(self) -> list[Charge]:
        """The charges, as the caller made them."""
        return [term.charge for term in self.terms]


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
        place = place_of(charge)
        tag = place.tag
        ask = asks.get(tag)
        if ask is None:
            ask = asks[tag] = Ask(reservation_id, tag, at_us, [], [], lifetime_ms, max_wait_us)
        ask.terms.append(term_of(charge, place))
        ask.positions.append(position)
        ask.shape = crc32(place.mark, ask.shape)
        seen.add(charge.key)
    if len(seen) < len(charges):
        keys = [charge.key for charge in charges]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"charge.key {twice!r} appears twice; add the amounts up")
    return list(asks.values())


def _packed(values: Sequence[int | str]) -> bytes:
    """Pack values one after the other: an array without its header."""
    packed = _encode(values)
    return packed[1 if len(values) < 16 else 3 :]


class _Book:
    """The keys and limits of one script call: every limit once, then the records, then the marker."""

    __slots__ = ("_index", "_limits", "_marked", "_records", "_tag", "rates_only")

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._index: dict[str, int] = {}
        self._limits: list[tuple[Term, Ask]] = []
        self._records: list[str] = []
        self._marked = False
        self.rates_only = True

    def limit(self, term: Term, ask: Ask) -> int:
        """Return the index of a charge's limit, adding it when new."""
        key = term.key(ask.at_us)
        index = self._index.get(key)
        if index is None:
            self._limits.append((term, ask))
            index = self._index[key] = len(self._limits)
            if not isinstance(term, RateTerm):
                self.rates_only = False
                self._marked = self._marked or isinstance(term, WindowTerm)
        return index

    def record(self, ask: Ask) -> None:
        """Add a request's record."""
        self._records.append(record_key(ask.tag, ask.id))

    def keys(self) -> list[str]:
        """Return the keys in the scripts' order."""
        marker = [tracked_key(self._tag)] if self._marked else []
        return [*self._index, *self._records, *marker]

    def limits(self, now_us: int) -> bytes:
        """Return the argument that carries the time and the limits."""
        marker = len(self._index) + len(self._records) + 1
        values: list[int | str] = [now_us]
        for term, ask in self._limits:
            values += term.argument(ask.at_us, ask.grace_us, marker)
        return _packed(values)


def _request(ask: Ask, book: _Book) -> bytes:
    values = [ask.shape, ask.lifetime_ms, ask.max_wait_us]
    for term in ask.terms:
        values.append(book.limit(term, ask))
        values += term.taken()
    return _packed(values)


def reserve(asks: Sequence[Ask], now_us: int) -> Call:
    """Ask for requests of one tag."""
    book = _Book(asks[0].tag)
    requests: list[bytes | str] = []
    for ask in asks:
        requests.append(_request(ask, book))
        book.record(ask)
    script = scripts.RESERVE_RATES if book.rates_only else scripts.RESERVE
    return Call(script, book.keys(), [book.limits(now_us), *requests])


def reserved(reply: object, asks: Sequence[Ask]) -> list[Answer]:
    """Read the answers to `reserve` in the order of the requests."""
    if not isinstance(reply, list) or len(reply) != len(asks):
        raise msgspec.DecodeError(f"a script answered {type(reply).__name__} to {len(asks)} requests")
    return [answered(answer, ask) for answer, ask in zip(reply, asks, strict=True)]


def peek(ask: Ask, now_us: int) -> Call:
    """Ask what `reserve` would answer to one request."""
    book = _Book(ask.tag)
    request = _request(ask, book)
    return Call(scripts.PEEK, book.keys(), [book.limits(now_us), request])


def at_most(ask: Ask, now_us: int) -> Call:
    """Ask for as many units of one rate limit as fit."""
    book = _Book(ask.tag)
    [term] = ask.terms
    book.limit(term, ask)
    book.record(ask)
    request = _packed([ask.shape, ask.lifetime_ms, term.charge.amount])
    return Call(scripts.AT_MOST, book.keys(), [book.limits(now_us), request])


def answered(reply: object, ask: Ask) -> Answer:
    """Read the answer to one request."""
    told = _values(reply)
    if len(told) < 4:
        raise msgspec.DecodeError(f"a script answered {len(told)} numbers to a request")
    status, at_us, wait_us, expires = told[:4]
    if status > ADMITTED:
        return Answer(status, at_us, 0, 0, [])
    if len(told) < 4 + sum([term.width for term in ask.terms]):
        raise msgspec.DecodeError(f"a script answered {len(told)} numbers to {len(ask.terms)} charges")
    admitted = status == ADMITTED
    standings = []
    place = 4
    for term in ask.terms:
        width = term.width
        standings.append(term.standing(told[place : place + width], at_us, admitted))
        place += width
    # Charges in shadow mode that did not fit: their places from 1, negated.
    skipped = [ask.positions[-1 - n] for n in told[place:] if -len(ask.positions) <= n < 0]
    return Answer(status, at_us, wait_us, expires, standings, told[-1], skipped)


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


def settle(adjustments: Sequence[Adjustment], now_us: int) -> Call:
    """Ask for settlements of one tag."""
    book = _Book(adjustments[0].ask.tag)
    settlements: list[bytes | str] = []
    for ask, deltas, cancel, before in adjustments:
        values = [ask.shape, int(cancel)]
        for term, delta in zip(ask.terms, deltas, strict=True):
            values += (book.limit(term, ask), *term.adjusted(delta))
        if before:
            for term in ask.terms:
                if isinstance(term, WindowTerm):
                    preceding = Ask(ask.id, ask.tag, term.window(ask.at_us).start_us - 1, [term], [0])
                    values += (book.limit(term, preceding), 0, 0, 0)
        settlements.append(_packed(values))
        book.record(ask)
    script = scripts.SETTLE_RATES if book.rates_only else scripts.SETTLE
    return Call(script, book.keys(), [book.limits(now_us), *settlements])


def renew(asks: Sequence[Ask], now_us: int) -> Call:
    """Ask for renewals of one tag; only slots are renewed."""
    book = _Book(asks[0].tag)
    renewals: list[bytes | str] = []
    for ask in asks:
        values = [ask.lifetime_ms]
        for term in ask.terms:
            if isinstance(term, SlotsTerm):
                values += (book.limit(term, ask), term.charge.amount)
        renewals.append(_packed(values))
        book.record(ask)
    return Call(scripts.RENEW, book.keys(), [book.limits(now_us), *renewals])


def commit(
    charge: Charge, at_us: int, spent_pico: int, version: int, ids: Sequence[str], now_us: int
) -> Call:
    """Tell what the ledger counted in one window."""
    tag = hash_tag(charge.key)
    book = _Book(tag)
    term = WindowTerm(charge, place_of(charge))
    book.limit(term, Ask("", tag, at_us, [term], [0]))
    spent = _packed([*divmod(spent_pico, 1_000_000), version])
    return Call(scripts.COMMIT, book.keys(), [book.limits(now_us), spent, *ids])


def outcomes(reply: object, count: int) -> list[int]:
    """Read the outcomes of `settle`, `renew` or `commit` in the order asked."""
    told = _values(reply)
    if len(told) != count:
        raise msgspec.DecodeError(f"a script answered {len(told)} outcomes to {count} requests")
    return told


def _values(reply: object) -> list[int]:
    if not isinstance(reply, bytes):
        # The connection got out of step.
        raise msgspec.DecodeError(f"a script answered {type(reply).__name__} instead of bytes")
    return _decode(reply)
