"""Leases: a slice of *all* limits of a hot tuple, taken ahead and spent in memory.

A slice is an ordinary reservation of N calls' worth against every charge. Calls draw from it in memory
(`mesh_store.redis.lease_book`). When it ends, the rest is given back and the slice is divided into the
reservations of the calls that still run, in one atomic call: from then on each of them is settled,
renewed, cancelled and drained after a crash like any other.

Invariant of rates: in *any* window the units spent are at most ``burst + rate * window``, leased and
direct calls mixed. Why: let E be the debt in Redis and ``n`` the debt of a grant. A direct grant makes it
``E + n``, a slice ``max(E, ttl) + n``, and neither exceeds ``burst / rate``. Take the units spent in a
window that ends at ``t``, and of their grants the first, at ``c``. Directly granted units are spent when
granted; leased ones at most a ttl later. If the first grant was a slice, the window began at ``c + ttl`` at
the latest, and E was at least ``ttl + n`` after it; from then on E rose by every grant and fell by at
most the time: ``E >= ttl + spent - (t - c) >= spent - window``. (Had the first grant been direct, the
window began at ``c`` and the same holds without ttl.) As ``E <= burst / rate``, so is
``spent - window``. A bare ``burst - rate * ttl`` for slices alone would not do: direct calls could take
what drained before the leased units were spent.

Returning ``u`` unspent units keeps that. With ``E0`` the debt after the grant, E was at least
``E0 - elapsed`` ever since: as long as that is no less than ``ttl + u``, every later grant stood on what it
needed without these units, and all of them may go back. Beyond that, ``u`` is lessened by what is short. On
a busy limit nothing is, on an idle one nobody misses it. A refund of what a call did not use is a refund
like any other: whole on soft limits, only what has not drained on ``hard`` ones.

Invariant of money: what is open in Redis covers every call drawn and not yet in the ledger. The slice
stands until the shipper reached the record of its end, which lies in the ring behind the settlements of
all calls that ended under it; then the running calls' own entries replace it in the same atomic call. It
was written into the ring before it was asked for, so that a crash at any point leaves a record by which
the drain closes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mesh_store.model.facts import LeaseEnded, SlotsMoved
from mesh_store.model.gcra import debt_of
from mesh_store.model.limits import MAX_EXACT, MAX_PICO, Charge, Reservation
from mesh_store.redis import scripts
from mesh_store.redis.answers import ADMITTED, ROLLED, Answer, answered, outcomes
from mesh_store.redis.asks import Ask, split
from mesh_store.redis.batches import MAX_CHARGES
from mesh_store.redis.keys import hash_tag
from mesh_store.redis.kinds import MOST_SLOTS, RateTerm, SlotsTerm, Term, WindowTerm, term_of
from mesh_store.redis.limiter import Limiter
from mesh_store.redis.settling import cancelling
from mesh_store.redis.steps import Course, raise_first, wall_us
from mesh_store.redis.templates import packed
from mesh_store.redis.wire import Book, Call

#: How long the record of a slice waits for its end: until its holder's ring was drained.
LEASE_RECORD_US = 3_600_000_000


class Grant(NamedTuple):
    """A slice that was granted.

    Attributes:
        reservation: the slice: its id, and what was taken of each limit.
        size: which of the sizes it is, from 0.
        remaining: units Redis has left of each limit.
        reset_after_us: until each limit is full again.
        usable_us: how long it may be spent at the most: a calendar window may end before the ttl.
    """

    reservation: Reservation
    size: int
    remaining: tuple[int, ...]
    reset_after_us: tuple[int, ...]
    usable_us: int


class LeasingLimiter(Limiter):
    """A `Limiter` that also takes slices and ends them; for threads that wait on nobody's behalf."""

    def lease(
        self,
        charges: Sequence[Charge],
        slices: Sequence[Sequence[int]],
        share: int,
        lease_id: str,
        ttl_us: int,
        *,
        now_us: int = 0,
    ) -> Grant | None:
        """Take the largest slice that leaves room; None when not even the smallest does.

        Args:
            charges: the limits; their amounts are not looked at.
            slices: amounts per charge, largest slice first.
            share: so many times the slice must be free of every limit.
            lease_id: minted by the caller, who wrote it down before.
            ttl_us: how long it is going to be spent.
            now_us: virtual time; 0 is the server's.

        Raises:
            QuotaUnavailable: Redis could not decide, and the slice may stand.
            ConfigError: Redis refused us.
        """
        course = lease(charges, slices, share, lease_id, ttl_us, now_us=now_us)
        grant: Grant | None = self._driver.follow(course)
        return grant

    def end_lease(self, ended: LeaseEnded, *, now_us: int = 0) -> None:
        """Divide a slice into what its running calls reserved, and give back the rest; once."""
        self._driver.follow(end(ended, now_us=now_us))

    def move_slots(self, moved: SlotsMoved, *, now_us: int = 0) -> None:
        """Make slots of a call that ended slots of a lease; those lost meanwhile stay lost."""
        self._driver.follow(move(moved, now_us=now_us))


def lease(
    charges: Sequence[Charge],
    slices: Sequence[Sequence[int]],
    share: int,
    lease_id: str,
    ttl_us: int,
    *,
    now_us: int,
) -> Course:
    """Take a slice under one tag after the other; what an earlier one gave beyond a later stays unspent."""
    lifetime_ms = (ttl_us + LEASE_RECORD_US) // 1000
    asks = split([_with(charge, 0) for charge in charges], lease_id, wall_us(now_us), lifetime_ms)
    answers: list[Answer] = []
    taken, sizes = [0] * len(charges), list(slices)
    for ask in asks:
        answer = yield from _ask(ask, sizes, share, ttl_us, now_us)
        if answer.status != ADMITTED:
            return (yield from _give_up(asks[: len(answers)], charges, taken, now_us))
        sizes = sizes[answer.told[-1] - 1 :]
        for position in ask.part.positions:
            taken[position] = sizes[0][position]
        answers.append(answer)
    at_us = min(answer.at_us for answer in answers)
    if any(ask.part.frame(ask.at_us).keys != ask.part.frame(at_us).keys for ask in asks):
        # A calendar window ended between two tags: one moment must say whose windows were charged.
        return (yield from _give_up(asks, charges, taken, now_us))
    slice_of = tuple([_with(charge, amount) for charge, amount in zip(charges, taken, strict=True)])
    stood = {
        position: standing
        for answer in answers
        for position, standing in zip(answer.ask.part.positions, answer.standings, strict=True)
    }
    standings = [stood[position] for position in range(len(charges))]
    return Grant(
        Reservation(lease_id, slice_of, at_us, min(answer.told[3] for answer in answers)),
        len(slices) - len(sizes),
        tuple([standing[0] for standing in standings]),
        tuple([standing[2] for standing in standings]),
        _usable(answers, ttl_us),
    )


def _ask(ask: Ask, sizes: Sequence[Sequence[int]], share: int, ttl_us: int, now_us: int) -> Course:
    """Ask one tag; whoever's calendar was wrong takes the server's word and asks again."""
    answer: Answer | None = None
    for _ in range(2):
        [reply] = yield [_lease_call(ask, sizes, share, ttl_us, now_us)]
        raise_first([reply], ask.id)
        answer = answered(reply, ask)
        if answer.status != ROLLED:
            break
        ask.at_us = answer.at_us
    raise_first([answer], ask.id)
    return answer


def _lease_call(ask: Ask, sizes: Sequence[Sequence[int]], share: int, ttl_us: int, now_us: int) -> Call:
    part, book = ask.part, Book(ask.part.tag)
    numbers = book.limits_of(ask)
    values = [part.shape, ask.lifetime_ms, ttl_us, len(numbers)]
    for size in sizes:
        for number, term, position in zip(numbers, part.terms, part.positions, strict=True):
            units = size[position]
            values += (number, *_pair(term, units), *_pair(term, units * share))
    book.record(ask)
    return Call(scripts.LEASE, book.keys(), [book.limits(now_us), packed(values)])


def _pair(term: Term, units: int) -> tuple[int, int]:
    """Return units as the scripts count them; what is beyond any limit is cut there."""
    if isinstance(term, RateTerm):
        return debt_of(term.rate, min(units, MAX_EXACT))
    if isinstance(term, SlotsTerm):
        return min(units, MOST_SLOTS), 0
    return divmod(min(units, MAX_PICO), 1_000_000)


def _give_up(asks: Sequence[Ask], charges: Sequence[Charge], taken: Sequence[int], now_us: int) -> Course:
    """Cancel what some tags granted."""
    whole = [_with(charge, amount) for charge, amount in zip(charges, taken, strict=True)]
    granted = [Ask(ask.id, ask.part, whole, ask.at_us) for ask in asks]
    if granted:
        raise_first((yield [cancelling(ask, now_us) for ask in granted]), granted[0].id)


def _usable(answers: Sequence[Answer], ttl_us: int) -> int:
    ends = [
        term.window(answer.ask.at_us).end_us - answer.at_us
        for answer in answers
        for term in answer.ask.part.terms
        if isinstance(term, WindowTerm)
    ]
    return max(0, min([ttl_us, *ends]))


def _with(charge: Charge, amount: int) -> Charge:
    return Charge(charge.key, charge.limit, amount, charge.enforce)


def end(ended: LeaseEnded, *, now_us: int) -> Course:
    """End a slice under each of its tags, its running calls in as many parts as they need."""
    slice_of = ended.lease
    for ask in split(slice_of.charges, slice_of.id, slice_of.reserved_at_us):
        most = max(1, min(60, MAX_CHARGES // len(ask.amounts)))
        parts = [ended.running[i : i + most] for i in range(0, len(ended.running), most)] or [()]
        for number, part in enumerate(parts, start=1):
            [reply] = yield [_end_call(ask, ended, part, number == len(parts), now_us)]
            raise_first([reply], slice_of.id)
            outcomes(reply, 1)


def _end_call(
    ask: Ask, ended: LeaseEnded, running: Sequence[tuple[str, int, tuple[int, ...]]], last: bool, now_us: int
) -> Call:
    part, book = ask.part, Book(ask.part.tag)
    numbers = book.limits_of(ask)
    values = [part.shape, int(last)]
    for number, term, at in zip(numbers, part.terms, part.positions, strict=True):
        values += (number, *_rest(term, ended.left[at], ended.refunded[at]))
    book.record(ask)
    calls: list[bytes | str] = []
    for call_id, lifetime_us, drawn in running:
        amounts = tuple([drawn[at] for at in part.positions])
        calls.append(part.renumbered((max(1, lifetime_us // 1000), 0, amounts), numbers))
        book.record_of(part, call_id)
    return Call(scripts.LEASE_END, book.keys(), [book.limits(now_us), packed(values), *calls])


def _rest(term: Term, left: int, refunded: int) -> tuple[int, int, int, int, int]:
    """Return what is left of a slice: what was never spent, and what came back."""
    if isinstance(term, SlotsTerm):
        return (left, 0, 0, 0, 0)
    if not isinstance(term, RateTerm):
        return (0, 0, 0, 0, 0)
    if left < 0:
        return (*debt_of(term.rate, -left), 1, 0, 0)
    back = 0 if term.limit.hard else min(left, refunded)
    return (*debt_of(term.rate, left - back), 0, *debt_of(term.rate, back))


def move(moved: SlotsMoved, *, now_us: int) -> Course:
    """Move slots from a call to a lease."""
    charge, book = moved.charge, Book(hash_tag(moved.charge.key))
    book.limit(term_of(charge), wall_us(now_us))
    numbers = packed([charge.amount, moved.first])
    arguments: list[bytes | str] = [book.limits(now_us), moved.call, moved.lease, numbers]
    [reply] = yield [Call(scripts.LEASE_MOVE, book.keys(), arguments)]
    raise_first([reply], moved.call)
    return outcomes(reply, 1)[0]
