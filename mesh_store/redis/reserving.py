"""The courses of deciding: reserve, peek and at-most.

Charges under several hash tags are decided one tag after the other: the first tag (the team's)
alone, then the rest side by side, all under one reservation id. When one refuses, what the others
granted is cancelled; what could not be cancelled is handed to ``orphaned``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mesh_store.model.errors import MeshError, QuotaUnavailable
from mesh_store.model.gcra import check_units
from mesh_store.model.limits import MAX_EXACT, Charge, Decision, Reservation
from mesh_store.redis import wire
from mesh_store.redis.batches import MAX_CHARGES
from mesh_store.redis.kinds import term_of
from mesh_store.redis.settling import cancelling
from mesh_store.redis.steps import (
    Course,
    Orphaned,
    Reserving,
    raise_first,
    wall_us,
)
from mesh_store.redis.wire import ADMITTED, ROLLED, Answer, Ask

#: How long a record answers replays and settlements unless said otherwise: 15 minutes.
RECORD_LIFETIME_US = 900_000_000

#: No wait is booked, and no record kept, for longer (35 years): the sums stay exact.
MOST_US = 2**50


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
    rest = asks[1:]
    answers = yield from _asked(asks[:1], now_us)
    if rest and isinstance(answers[0], Answer) and answers[0].status == ADMITTED:
        for ask in rest:
            # One reservation belongs to one moment, also when midnight passes between its tags.
            ask.at_us, ask.grace_us = answers[0].at_us, wire.GRACE_US
        answers += yield from _asked(rest, now_us)
    refused = [answer for answer in answers if isinstance(answer, MeshError) or answer.status != ADMITTED]
    if not refused:
        return _decision(asks, answers, charges, reservation_id)
    yield from _compensate(asks, answers, now_us, orphaned)
    raise_first(refused, reservation_id)
    if rest:
        answers = yield from _headroom(asks, answers, now_us)
    return _decision(asks, answers, charges, None)


def peek(charges: Sequence[Charge], *, now_us: int) -> Course:
    """Say what `reserve` would answer, changing nothing."""
    asks = _asks(charges, "peek", RECORD_LIFETIME_US, 0, now_us)
    answers = yield from _peeked(asks, now_us)
    return _decision(asks, answers, charges, None)


def at_most(charge: Charge, reservation_id: str, *, ttl_us: int, now_us: int, orphaned: Orphaned) -> Course:
    """Take as many units of one rate limit as fit, up to the charge's amount."""
    if charge.limit.kind != "rate":
        raise ValueError(f"charge.limit.kind must be rate for at_most, not {charge.limit.kind}")
    [ask] = _asks([charge], reservation_id, ttl_us, 0, now_us)
    [reply] = yield [wire.at_most(ask, now_us)]
    if isinstance(reply, QuotaUnavailable):
        orphaned(reservation_id, [charge])
    raise_first([reply], reservation_id)
    answer = wire.answered(reply, ask)
    raise_first([answer], reservation_id)
    granted = answer.granted if answer.status == ADMITTED else 0
    # When not even one unit fitted, the wait is the wait for one.
    asked = granted if answer.status == ADMITTED else min(charge.amount, 1)
    ask.terms = [term_of(msgspec.structs.replace(charge, amount=asked))]
    answer = wire.answered(reply, ask)
    owner = reservation_id if answer.status == ADMITTED else None
    return msgspec.structs.replace(_decision([ask], [answer], ask.charges, owner), granted=granted)


def _asked(asks: Sequence[Ask], now_us: int) -> Course:
    """Reserve under each tag; whoever's calendar was wrong takes the server's word and asks again."""
    answers = yield [Reserving(ask, now_us) for ask in asks]
    late = [i for i, answer in enumerate(answers) if isinstance(answer, Answer) and answer.status == ROLLED]
    if late:
        for i in late:
            asks[i].at_us = answers[i].at_us
        again = yield [Reserving(asks[i], now_us) for i in late]
        for i, answer in zip(late, again, strict=True):
            answers[i] = answer
    return answers


def _peeked(asks: Sequence[Ask], now_us: int) -> Course:
    """Peek under each tag, with the server's calendar."""
    for _ in range(2):
        replies = yield [wire.peek(ask, now_us) for ask in asks]
        raise_first(replies, "peek")
        answers = [wire.answered(reply, ask) for ask, reply in zip(asks, replies, strict=True)]
        if all(answer.status != ROLLED for answer in answers):
            break
        for ask, answer in zip(asks, answers, strict=True):
            ask.at_us = answer.at_us
    raise_first(answers, "peek")
    return answers


def _compensate(asks: list[Ask], answers: list[Any], now_us: int, orphaned: Orphaned) -> Course:
    """Cancel what was granted; what may have been granted unheard is somebody else's to cancel."""
    asked = list(zip(asks, answers, strict=False))
    granted = [ask for ask, answer in asked if isinstance(answer, Answer) and answer.status == ADMITTED]
    lost = [ask for ask, answer in asked if isinstance(answer, QuotaUnavailable)]
    if granted:
        outcomes = yield [cancelling(ask, now_us) for ask in granted]
        lost += [ask for ask, got in zip(granted, outcomes, strict=True) if isinstance(got, MeshError)]
    for ask in lost:
        orphaned(ask.id, ask.charges)


def _headroom(asks: list[Ask], answers: list[Answer], now_us: int) -> Course:
    """Complete a denial: what was granted and given back, or never asked, is peeked at."""
    known = {ask.tag: answer for ask, answer in zip(asks, answers, strict=False) if answer.status != ADMITTED}
    unsure = [ask for ask in asks if ask.tag not in known]
    seen = yield from _peeked(unsure, now_us)
    known |= {ask.tag: answer for ask, answer in zip(unsure, seen, strict=True)}
    return [known[ask.tag] for ask in asks]


def _asks(
    charges: Sequence[Charge], reservation_id: str, ttl_us: int, max_wait_us: int, now_us: int
) -> list[Ask]:
    if not 1 <= len(charges) <= MAX_CHARGES:
        raise ValueError(f"charges must be 1 to {MAX_CHARGES}, not {len(charges)}")
    check_units("now_us", now_us)
    check_units("max_wait_us", max_wait_us, MOST_US)
    if check_units("ttl_us", ttl_us, MOST_US) == 0:
        raise ValueError("ttl_us must be at least 1 microsecond")
    return wire.split(charges, reservation_id, wall_us(now_us), -(-ttl_us // 1000), max_wait_us)


def _decision(
    asks: list[Ask], answers: list[Answer], charges: Sequence[Charge], owner: str | None
) -> Decision:
    """Join the answers of all tags, in the order of the caller's charges.

    Args:
        asks: the requests, one a tag.
        answers: their answers.
        charges: what the caller asked for.
        owner: the reservation's id; None when nothing was taken.
    """
    if len(asks) == 1:
        standings = answers[0].standings
    else:
        placed = {
            position: standing
            for ask, answer in zip(asks, answers, strict=True)
            for position, standing in zip(ask.positions, answer.standings, strict=True)
        }
        standings = [placed[position] for position in range(len(charges))]
    remaining, waits, resets = zip(*standings, strict=True)
    admitted = all(answer.status == ADMITTED for answer in answers)
    retry_after, binding = None, None
    if admitted:
        retry_after = 0
    else:
        ranked = [
            (MAX_EXACT if wait is None else wait) if charge.enforce else -1
            for charge, wait in zip(charges, waits, strict=True)
        ]
        binding = ranked.index(max(ranked))
        retry_after = waits[binding]
    reservation = None
    if owner is not None:
        reserved_at = min(answer.at_us for answer in answers)
        expires_at = min(answer.expires_at_us for answer in answers)
        reservation = Reservation(owner, tuple(charges), reserved_at, expires_at)
    return Decision(
        admitted=admitted,
        remaining=remaining,
        retry_after_us=retry_after,
        reset_after_us=resets,
        binding=binding,
        wait_us=max([answer.wait_us for answer in answers]),
        reservation=reservation,
        shadow_denied=tuple(sorted(at for a in answers for at in a.shadow_denied)) if admitted else (),
    )
