"""What the scripts are sent, pure; `answers` reads what they say, wherever a call says so at once.

The first argument carries the time and the limits, each further one a request; numbers are msgpack
values one after the other, which Lua reads in one step without building tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from mesh_store.model.limits import Charge
from mesh_store.redis import scripts
from mesh_store.redis.answers import answered, outcomes
from mesh_store.redis.asks import Ask
from mesh_store.redis.keys import hash_tag, tracked_key
from mesh_store.redis.kinds import RateTerm, SlotsTerm, Term, WindowTerm, term_of
from mesh_store.redis.scripts import Script
from mesh_store.redis.templates import Frame, Part, packed

#: How long after a window's end the later tags of a reservation may still be charged to it.
GRACE_US = 5_000_000


class Call(NamedTuple):
    """A script with what it is sent.

    Attributes:
        script, keys, arguments: the script and what it is sent.
        read: makes of its reply what the result is; one that cannot be ours is an error in its place. None:
            the reply as it came.
    """

    script: Script
    keys: list[str]
    arguments: list[bytes | str]
    read: Callable[[object], Any] | None = None


class Book:
    """The keys and limits of one script call: every limit once, then the records, then the marker."""

    __slots__ = ("_index", "_limits", "_marked", "_placed", "_records", "_tag", "rates_only")

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._index: dict[str, int] = {}
        self._limits: list[bytes] = []
        self._records: list[str] = []
        self._placed: dict[int, tuple[Frame, list[int]]] = {}
        self._marked = False
        self.rates_only = True

    def limit(self, term: Term, at_us: int, grace_us: int = 0) -> int:
        """Return the number of a limit, adding it when new."""
        self.rates_only = self.rates_only and isinstance(term, RateTerm)
        self._marked = self._marked or isinstance(term, WindowTerm)
        return self._number(term.state(at_us), packed(term.argument(at_us, grace_us)))

    def limits_of(self, ask: Ask) -> list[int]:
        """Return the numbers of a request's limits, adding those that are new."""
        part = ask.part
        frame = part.frame(ask.at_us, ask.grace_us)
        placed = self._placed.get(id(frame))
        if placed is None:
            self.rates_only = self.rates_only and part.rates_only
            self._marked = self._marked or part.has_windows
            # The frame is kept beside them, because its identity is the key.
            placed = (frame, list(map(self._number, frame.keys, frame.limits)))
            self._placed[id(frame)] = placed
        return placed[1]

    def _number(self, key: str, limit: bytes) -> int:
        number = self._index.get(key)
        if number is None:
            self._limits.append(limit)
            number = self._index[key] = len(self._limits)
        return number

    def record(self, ask: Ask) -> None:
        """Add a request's record."""
        self.record_of(ask.part, ask.id)

    def record_of(self, part: Part, reservation_id: str) -> None:
        """Add the record of a reservation."""
        self._records.append(part.record + reservation_id)

    def keys(self) -> list[str]:
        """Return the keys in the scripts' order."""
        marker = [tracked_key(self._tag)] if self._marked else []
        return [*self._index, *self._records, *marker]

    def limits(self, now_us: int) -> bytes:
        """Return the argument that carries the time and the limits."""
        return packed([now_us]) + b"".join(self._limits)


def reserve(asks: Sequence[Ask], now_us: int) -> Call:
    """Ask for requests of one tag."""
    first = asks[0].part
    frame = first.frame(asks[0].at_us, asks[0].grace_us)
    for ask in asks:
        if ask.part is not first or ask.part.frame(ask.at_us, ask.grace_us) is not frame:
            return _mixed(asks, now_us)
    record = first.record
    keys = [*frame.keys, *[record + ask.id for ask in asks]]
    if first.has_windows:
        keys.append(tracked_key(first.tag))
    script = scripts.RESERVE_RATES if first.rates_only else scripts.RESERVE
    return Call(script, keys, [packed([now_us]) + frame.packed, *[ask.request for ask in asks]])


def _mixed(asks: Sequence[Ask], now_us: int) -> Call:
    """Ask for requests of one tag that do not all take from the same limits."""
    book = Book(asks[0].part.tag)
    requests: list[bytes | str] = [_request(ask, book) for ask in asks]
    script = scripts.RESERVE_RATES if book.rates_only else scripts.RESERVE
    return Call(script, book.keys(), [book.limits(now_us), *requests])


def _request(ask: Ask, book: Book) -> bytes:
    numbers = book.limits_of(ask)
    book.record(ask)
    if numbers[-1] == len(numbers) and numbers == list(range(1, len(numbers) + 1)):
        return ask.request
    return ask.part.renumbered((ask.lifetime_ms, ask.max_wait_us, ask.amounts), numbers)


def peek(ask: Ask, now_us: int) -> Call:
    """Ask what `reserve` would answer to one request."""
    book = Book(ask.part.tag)
    book.limits_of(ask)
    return Call(scripts.PEEK, book.keys(), [book.limits(now_us), ask.request], partial(answered, ask=ask))


def at_most(ask: Ask, now_us: int) -> Call:
    """Ask for as many units of one rate limit as fit."""
    book = Book(ask.part.tag)
    book.limits_of(ask)
    book.record(ask)
    request = packed([ask.part.shape, ask.lifetime_ms, *ask.amounts])
    return Call(scripts.AT_MOST, book.keys(), [book.limits(now_us), request])


class Adjustment(NamedTuple):
    """A settlement's part under one tag: what to add to, or take from, each charge.

    Attributes:
        ask: the charges; ``at_us`` says whose windows.
        deltas: signed units per charge.
        cancel: True to give everything back.
        before: cancel the entries of the preceding windows too, when nobody knows which was charged.
    """

    ask: Ask
    deltas: Sequence[int]
    cancel: bool = False
    before: bool = False


def settle(adjustments: Sequence[Adjustment], now_us: int) -> Call:
    """Ask for settlements of one tag."""
    book = Book(adjustments[0].ask.part.tag)
    settlements: list[bytes | str] = []
    for ask, deltas, cancel, before in adjustments:
        part = ask.part
        values = [part.shape, int(cancel)]
        for number, term, amount, delta in zip(
            book.limits_of(ask), part.terms, ask.amounts, deltas, strict=True
        ):
            values += (number, *term.adjusted(amount, delta))
        if before and part.has_windows:
            for term in part.terms:
                if isinstance(term, WindowTerm):
                    preceding = book.limit(term, term.window(ask.at_us).start_us - 1)
                    values += (preceding, 0, 0, 0)
        settlements.append(packed(values))
        book.record(ask)
    script = scripts.SETTLE_RATES if book.rates_only else scripts.SETTLE
    read = partial(outcomes, count=len(settlements))
    return Call(script, book.keys(), [book.limits(now_us), *settlements], read)


def renew(asks: Sequence[Ask], now_us: int) -> Call:
    """Ask for renewals of one tag; only slots are renewed."""
    book = Book(asks[0].part.tag)
    renewals: list[bytes | str] = []
    for ask in asks:
        values = [ask.lifetime_ms]
        for term, amount in zip(ask.part.terms, ask.amounts, strict=True):
            if isinstance(term, SlotsTerm):
                values += (book.limit(term, ask.at_us), amount)
        renewals.append(packed(values))
        book.record(ask)
    return Call(scripts.RENEW, book.keys(), [book.limits(now_us), *renewals])


def commit(
    charge: Charge, at_us: int, spent_pico: int, version: int, ids: Sequence[str], now_us: int
) -> Call:
    """Tell what the ledger counted in one window."""
    book = Book(hash_tag(charge.key))
    book.limit(term_of(charge), at_us)
    spent = packed([*divmod(spent_pico, 1_000_000), version])
    return Call(scripts.COMMIT, book.keys(), [book.limits(now_us), spent, *ids])
