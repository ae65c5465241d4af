"""The course of each operation, step by step and without I/O.

A course is a generator: it yields the steps that may run side by side and is sent their results,
a `MeshError` in place of a result that could not be had. `Limiter` and `AsyncLimiter` only
perform steps, so both colours follow the same course.

Charges under several hash tags are decided one tag after the other: the first tag (the team's)
alone, then the rest side by side, all under one reservation id. When one refuses, what the others
granted is cancelled; what could not be cancelled is handed to ``orphaned``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from mesh_store.model.errors import ConfigError, MeshError, QuotaUnavailable
from mesh_store.model.gcra import check_units
from mesh_store.model.limits import MAX_EXACT, Charge, Decision, Reservation
from mesh_store.redis import scripts, wire
from mesh_store.redis.wire import ADMITTED, DONE, REUSED, Adjustment, Answer, Ask, Standing

#: How long a record answers replays and settlements unless said otherwise: 15 minutes.
RECORD_LIFETIME_US = 900_000_000

#: The most requests, and the most charges, one script call carries.
MAX_REQUESTS, MAX_CHARGES = 64, 256

#: Told of charges that may stand without anybody holding their reservation.
Orphaned = Callable[[str, Sequence[Charge]], None]


class Reserving(NamedTuple):
    """Ask for the charges of one tag; the result is an `Answer`. May be joined with others'."""

    ask: Ask
    now_us: int


class Calling(NamedTuple):
    """Run a script; the result is its reply."""

    script: scripts.Script
    keys: list[str]
    argument: bytes


Step = Reserving | Calling
Course = Generator[list[Step], list[Any], Any]


def mint_id() -> str:
    """Mint a reservation id: 128 random bits, unguessable and never repeated after a fork."""
    return os.urandom(16).hex()


def reserve(
    charges: Sequence[Charge],
    reservation_id: str,
    *,
    max_wait_us: int,
    ttl_us: int,
    now_us: int,
    orphaned: Orphaned,
) -> Course:
    """Take all charges or none."""
    asks = _asks(charges, reservation_id, ttl_us, max_wait_us, now_us)
    first, *rest = asks
    answers = yield [Reserving(first, now_us)]
    if rest and isinstance(answers[0], Answer) and answers[0].status == ADMITTED:
        answers += yield [Reserving(ask, now_us) for ask in rest]
    refused = [answer for answer in answers if isinstance(answer, MeshError) or answer.status != ADMITTED]
    if not refused:
        return _admitted(asks, answers, charges, reservation_id)
    yield from _compensate(asks, answers, now_us, orphaned)
    _raise_first(refused, reservation_id)
    if rest:
        answers = yield from _headroom(asks, answers, now_us)
    return _denied(asks, answers, charges)


def _headroom(asks: list[Ask], answers: list[Answer], now_us: int) -> Course:
    """Complete a denial: what was granted and given back, or never asked, is peeked at."""
    known = {ask.tag: answer for ask, answer in zip(asks, answers, strict=False) if answer.status != ADMITTED}
    unsure = [ask for ask in asks if ask.tag not in known]
    replies = yield [Calling(scripts.PEEK, *wire.pack_peek(ask, now_us)) for ask in unsure]
    _raise_first(replies, "peek")
    for ask, reply in zip(unsure, replies, strict=True):
        known[ask.tag] = wire.read_one(reply, ask)
    return [known[ask.tag] for ask in asks]


def _compensate(asks: list[Ask], answers: list[Any], now_us: int, orphaned: Orphaned) -> Course:
    """Cancel what was granted; what may have been granted unheard is somebody else's to cancel."""
    asked = list(zip(asks, answers, strict=False))
    granted = [ask for ask, answer in asked if isinstance(answer, Answer) and answer.status == ADMITTED]
    lost = [ask for ask, answer in asked if isinstance(answer, QuotaUnavailable)]
    if granted:
        outcomes = yield [_cancelling(ask, now_us) for ask in granted]
        lost += [ask for ask, got in zip(granted, outcomes, strict=True) if isinstance(got, MeshError)]
    for ask in lost:
        orphaned(ask.id, ask.charges)


def peek(charges: Sequence[Charge], *, now_us: int) -> Course:
    """Say what `reserve` would answer, changing nothing."""
    asks = _asks(charges, "peek", RECORD_LIFETIME_US, 0, now_us)
    replies = yield [Calling(scripts.PEEK, *wire.pack_peek(ask, now_us)) for ask in asks]
    _raise_first(replies, "peek")
    answers = [wire.read_one(reply, ask) for ask, reply in zip(asks, replies, strict=True)]
    if any(answer.status != ADMITTED for answer in answers):
        return _denied(asks, answers, charges)
    return _merge(asks, answers, charges, admitted=True)


def at_most(charge: Charge, reservation_id: str, *, ttl_us: int, now_us: int, orphaned: Orphaned) -> Course:
    """Take as many units of one rate limit as fit, up to the charge's amount."""
    if charge.limit.kind != "rate":
        raise ValueError(f"charge.limit.kind must be rate for at_most, not {charge.limit.kind}")
    [ask] = _asks([charge], reservation_id, ttl_us, 0, now_us)
    [reply] = yield [Calling(scripts.AT_MOST, *wire.pack_at_most(ask, now_us))]
    if isinstance(reply, QuotaUnavailable):
        orphaned(reservation_id, [charge])
    _raise_first([reply], reservation_id)
    answer = wire.read_one(reply, ask)
    _raise_first([answer], reservation_id)
    if answer.status != ADMITTED:
        # Not even one unit fitted: the wait is the wait for one.
        ask.charges = [Charge(charge.key, charge.limit, min(charge.amount, 1))]
        return _denied([ask], [wire.read_one(reply, ask)], ask.charges)
    taken = Charge(charge.key, charge.limit, answer.granted)
    decision = _admitted([ask], [answer], [taken], reservation_id)
    return _with_grant(decision, answer.granted)


def settle(settlements: Sequence[tuple[Reservation, Sequence[int]]], *, now_us: int) -> Course:
    """True reservations up; returns for each whether it was open."""
    adjustments = []
    for reservation, given in settlements:
        deltas = list(given) or [0] * len(reservation.charges)
        if len(deltas) != len(reservation.charges):
            raise ValueError(f"deltas must be {len(reservation.charges)}, one per charge, not {len(deltas)}")
        for charge, delta in zip(reservation.charges, deltas, strict=True):
            if type(delta) is not int or not -charge.amount <= delta <= MAX_EXACT:
                raise ValueError(
                    f"delta of {charge.key} must be a whole number from -{charge.amount}, not {delta!r}"
                )
        adjustments.append(_adjust(reservation.id, reservation.charges, deltas, cancel=False))
    return (yield from _apply(adjustments, now_us))


def cancel(reservation_id: str, charges: Sequence[Charge], *, now_us: int) -> Course:
    """Give everything back; an id nobody knows yet is refused when it comes late."""
    deltas = [-charge.amount for charge in charges]
    [applied] = yield from _apply([_adjust(reservation_id, charges, deltas, cancel=True)], now_us)
    return applied


def _adjust(
    reservation_id: str, charges: Sequence[Charge], deltas: list[int], *, cancel: bool
) -> list[Adjustment]:
    asks = wire.split(charges, reservation_id, 1, 0)
    return [Adjustment(ask, [deltas[position] for position in ask.positions], cancel) for ask in asks]


def _cancelling(ask: Ask, now_us: int) -> Step:
    deltas = [-charge.amount for charge in ask.charges]
    return Calling(scripts.SETTLE, *wire.pack_settle([Adjustment(ask, deltas, cancel=True)], now_us))


def _apply(adjustments: list[list[Adjustment]], now_us: int) -> Course:
    """Send settlements in as few calls as their tags allow; the first error is raised at the end."""
    check_units("now_us", now_us)
    owned = [(owner, part) for owner, parts in enumerate(adjustments) for part in parts]
    batches = batched([part.ask for _, part in owned])
    calls: list[Step] = [
        Calling(scripts.SETTLE, *wire.pack_settle([owned[i][1] for i in batch], now_us)) for batch in batches
    ]
    replies = yield calls
    _raise_first(replies, "settle")
    applied = [False] * len(adjustments)
    for batch, reply in zip(batches, replies, strict=True):
        for i, outcome in zip(batch, wire.read_settle(reply), strict=True):
            owner, part = owned[i]
            if outcome == REUSED:
                raise _reused(part.ask.id)
            applied[owner] = applied[owner] or outcome == 1
    return applied


def batched(asks: Sequence[Ask]) -> list[list[int]]:
    """Group requests that may share a call, first come first: one tag, one limit per key, one id."""
    batches: list[list[int]] = []
    open_batch: dict[str, tuple[list[int], dict[str, Any], int]] = {}
    for i, ask in enumerate(asks):
        limits = {charge.key: charge.limit for charge in ask.charges}
        current = open_batch.get(ask.tag)
        if current is not None:
            batch, known, size = current
            fits = len(batch) < MAX_REQUESTS and size + len(limits) <= MAX_CHARGES
            agree = ask.id not in known and all(
                known.get(key, limit) == limit for key, limit in limits.items()
            )
            if fits and agree:
                batch.append(i)
                known |= limits
                known[ask.id] = None
                open_batch[ask.tag] = (batch, known, size + len(limits))
                continue
        batch = [i]
        batches.append(batch)
        open_batch[ask.tag] = (batch, {**limits, ask.id: None}, len(limits))
    return batches


def _asks(
    charges: Sequence[Charge], reservation_id: str, ttl_us: int, max_wait_us: int, now_us: int
) -> list[Ask]:
    if not charges:
        raise ValueError("charges must hold at least one charge")
    if len(charges) > MAX_CHARGES:
        raise ValueError(f"charges must be at most {MAX_CHARGES}, not {len(charges)}")
    check_units("now_us", now_us)
    check_units("max_wait_us", max_wait_us, 2**50)
    if check_units("ttl_us", ttl_us, 2**50) == 0:
        raise ValueError("ttl_us must be at least 1 microsecond")
    return wire.split(charges, reservation_id, -(-ttl_us // 1000), max_wait_us)


def _raise_first(results: Sequence[Any], reservation_id: str) -> None:
    for result in results:
        if isinstance(result, MeshError):
            raise result
        if isinstance(result, Answer) and result.status == REUSED:
            raise _reused(reservation_id)
        if isinstance(result, Answer) and result.status == DONE:
            raise QuotaUnavailable(
                f"reservation {reservation_id} was cancelled or settled before it was granted"
            )


def _reused(reservation_id: str) -> ConfigError:
    return ConfigError(f"reservation id {reservation_id} was used before for other charges; mint a new one")


def _admitted(
    asks: list[Ask], answers: list[Answer], charges: Sequence[Charge], reservation_id: str
) -> Decision:
    reservation = Reservation(
        reservation_id,
        tuple(charges),
        min(answer.now_us for answer in answers),
        min(answer.expires_at_us for answer in answers),
    )
    return _merge(asks, answers, charges, admitted=True, reservation=reservation)


def _denied(asks: list[Ask], answers: list[Answer], charges: Sequence[Charge]) -> Decision:
    return _merge(asks, answers, charges, admitted=False)


def _merge(
    asks: list[Ask],
    answers: list[Answer],
    charges: Sequence[Charge],
    *,
    admitted: bool,
    reservation: Reservation | None = None,
) -> Decision:
    """Put the standings back into the order of the caller's charges."""
    standings = [Standing(0, 0, 0)] * len(charges)
    for ask, answer in zip(asks, answers, strict=True):
        for position, standing in zip(ask.positions, answer.standings, strict=True):
            standings[position] = standing
    retry_after: int | None = 0
    binding = None
    if not admitted:
        waits = [MAX_EXACT if s.wait_us is None else s.wait_us for s in standings]
        binding = waits.index(max(waits))
        retry_after = standings[binding].wait_us
    return Decision(
        admitted=admitted,
        remaining=tuple([s.remaining for s in standings]),
        retry_after_us=retry_after,
        reset_after_us=tuple([s.reset_after_us for s in standings]),
        binding=binding,
        wait_us=max(answer.wait_us for answer in answers),
        reservation=reservation,
    )


def _with_grant(decision: Decision, granted: int) -> Decision:
    return Decision(
        admitted=decision.admitted,
        remaining=decision.remaining,
        retry_after_us=decision.retry_after_us,
        reset_after_us=decision.reset_after_us,
        reservation=decision.reservation,
        granted=granted,
    )
