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
from mesh_store.model.limits import Charge, Decision
from mesh_store.redis import wire
from mesh_store.redis.answers import ADMITTED, ROLLED, Answer, answered, decided
from mesh_store.redis.asks import Ask, asks_of
from mesh_store.redis.batches import MAX_CHARGES
from mesh_store.redis.settling import cancelling
from mesh_store.redis.steps import Course, Orphaned, Reserving, raise_first, wall_us
from mesh_store.redis.watching import Watch

#: How long a record answers replays and settlements unless said otherwise: 15 minutes.
RECORD_LIFETIME_US = 900_000_000

#: No wait is booked, and no record kept, for longer (35 years): the sums stay exact.
MOST_US = 2**50


def rest(asks: list[Ask], first: Answer | MeshError, now_us: int, watch: Watch) -> Course:
    """Go on with a reserve whose first tag has answered: another calendar, further tags, or a refusal.

    A server that cannot decide leaves the others' word standing: its limits alone go by their policies.
    """
    answers: list[Any] = [first]
    if isinstance(first, Answer) and first.status == ROLLED:
        answers = yield from _once_more(asks[:1], answers, now_us)
    if len(asks) > 1:
        answers += yield from _further(asks, answers[0], now_us, watch)
    refused = [answer for answer in answers if isinstance(answer, MeshError) or answer.status != ADMITTED]
    if not refused:
        return decided(answers, asks[0].id)
    if len(answers) == len(asks) and all(isinstance(answer, QuotaUnavailable) for answer in refused):
        try:
            return _partly(asks, answers, watch)
        except QuotaUnavailable as error:
            # Whoever was not asked granted nothing, but another may have.
            error.asked = error.asked or any(isinstance(answer, Answer) for answer in answers)
            yield from _compensate(asks, answers, now_us, watch.orphaned)
            raise
    yield from _compensate(asks, answers, now_us, watch.orphaned)
    # A limit that refuses says more than one that could not be asked, and a mistake more than both.
    said = [answer for answer in refused if not isinstance(answer, QuotaUnavailable)]
    raise_first(said or refused, asks[0].id)
    if len(asks) > 1:
        answers = yield from _headroom(asks, answers, now_us)
    return decided(answers, None)


def _further(asks: list[Ask], first: Answer | MeshError, now_us: int, watch: Watch) -> Course:
    """Ask under the further tags, unless the first refused; those of a server that is away are not asked."""
    further = asks[1:]
    away: str | None = None
    if isinstance(first, QuotaUnavailable):
        away = watch.circuit(asks[0].part.tag).name
        if all(watch.circuit(ask.part.tag).name == away for ask in further):
            return [first] * len(further)
    elif not isinstance(first, Answer) or first.status != ADMITTED:
        return []
    else:
        for ask in further:
            # One reservation belongs to one moment, also when midnight passes between its tags.
            ask.at_us, ask.grace_us = first.at_us, wire.GRACE_US
    circuits = [watch.circuit(ask.part.tag) for ask in further]
    told: list[Any] = [first if circuit.name == away else circuit.shut() for circuit in circuits]
    asking = [place for place, shut in enumerate(told) if shut is None]
    results = yield [Reserving(further[place], now_us) for place in asking]
    for place, result in zip(asking, results, strict=True):
        circuits[place].heard(result)
        told[place] = result
    return (yield from _once_more(further, told, now_us))


def _partly(asks: list[Ask], answers: list[Any], watch: Watch) -> Decision:
    """Let the policies decide for the servers that could not; the others have granted.

    Raises:
        QuotaUnavailable: a policy refuses.
    """
    away = [ask for ask, answer in zip(asks, answers, strict=True) if isinstance(answer, MeshError)]
    error = next(answer for answer in answers if isinstance(answer, QuotaUnavailable))
    decision = watch.instead(away, error)
    granted = [answer for answer in answers if isinstance(answer, Answer)]
    if granted:
        decision = decided(granted, asks[0].id)
        decision.enforced = False
    return decision


def peek(charges: Sequence[Charge], *, now_us: int) -> Course:
    """Say what `rest` would answer, changing nothing."""
    asks = asked(charges, "peek", RECORD_LIFETIME_US, 0, now_us)
    answers = yield from _peeked(asks, now_us)
    raise_first(answers, "peek")
    return decided(answers, None)


def at_most(charge: Charge, reservation_id: str, *, ttl_us: int, now_us: int, orphaned: Orphaned) -> Course:
    """Take as many units of one rate limit as fit, up to the charge's amount."""
    if charge.limit.kind != "rate":
        raise ValueError(f"charge.limit.kind must be rate for at_most, not {charge.limit.kind}")
    [ask] = asked([charge], reservation_id, ttl_us, 0, now_us)
    [reply] = yield [wire.at_most(ask, now_us)]
    if isinstance(reply, QuotaUnavailable):
        orphaned(reservation_id, [charge])
    raise_first([reply], reservation_id)
    answer = answered(reply, ask)
    raise_first([answer], reservation_id)
    admitted = answer.status == ADMITTED
    granted = answer.told[-1] if admitted else 0
    # When not even one unit fitted, the wait is the wait for one.
    taken = msgspec.structs.replace(charge, amount=granted if admitted else min(charge.amount, 1))
    [ask] = asked([taken], reservation_id, ttl_us, 0, now_us)
    decision = decided([Answer(ask, answer.told)], reservation_id if admitted else None)
    decision.granted = granted
    return decision


def _once_more(asks: Sequence[Ask], answers: list[Any], now_us: int) -> Course:
    """Let whoever's calendar was wrong take the server's word and ask again."""
    late = [i for i, answer in enumerate(answers) if isinstance(answer, Answer) and answer.status == ROLLED]
    if late:
        for i in late:
            asks[i].at_us = answers[i].at_us
        again = yield [Reserving(asks[i], now_us) for i in late]
        for i, answer in zip(late, again, strict=True):
            answers[i] = answer
    return answers


def _peeked(asks: Sequence[Ask], now_us: int) -> Course:
    """Peek under each tag, with the server's calendar; an error stands in place of what cannot be had."""
    answers: list[Any] = []
    for _ in range(2):
        answers = yield [wire.peek(ask, now_us) for ask in asks]
        late = [answer for answer in answers if isinstance(answer, Answer) and answer.status == ROLLED]
        if not late:
            break
        for answer in late:
            answer.ask.at_us = answer.at_us
    return answers


def _compensate(asks: list[Ask], answers: list[Any], now_us: int, orphaned: Orphaned) -> Course:
    """Cancel what was granted; what may have been granted unheard is somebody else's to cancel."""
    asked = list(zip(asks, answers, strict=False))
    granted = [ask for ask, answer in asked if isinstance(answer, Answer) and answer.status == ADMITTED]
    lost = [ask for ask, answer in asked if isinstance(answer, QuotaUnavailable) and answer.asked]
    if granted:
        outcomes = yield [cancelling(ask, now_us) for ask in granted]
        lost += [ask for ask, got in zip(granted, outcomes, strict=True) if isinstance(got, MeshError)]
    for ask in lost:
        orphaned(ask.id, ask.own)


def _headroom(asks: list[Ask], answers: list[Any], now_us: int) -> Course:
    """Complete a denial: what was granted and given back, or never asked, is peeked at.

    What cannot be looked at is left out: a refusal stays one, whatever happens afterwards.
    """
    known = {
        ask.part.tag: answer
        for ask, answer in zip(asks, answers, strict=False)
        if isinstance(answer, Answer) and answer.status != ADMITTED
    }
    unsure = [ask for ask in asks if ask.part.tag not in known]
    seen = yield from _peeked(unsure, now_us)
    for ask, answer in zip(unsure, seen, strict=True):
        if isinstance(answer, Answer) and answer.status <= ADMITTED:
            known[ask.part.tag] = answer
    return [known[ask.part.tag] for ask in asks if ask.part.tag in known]


def asked(
    charges: Sequence[Charge], reservation_id: str, ttl_us: int, max_wait_us: int, now_us: int
) -> list[Ask]:
    """Make the requests of a call, one a tag.

    Raises:
        ValueError: a limit, amount or time cannot be counted exactly; names the field.
    """
    if not 1 <= len(charges) <= MAX_CHARGES:
        raise ValueError(f"charges must be 1 to {MAX_CHARGES}, not {len(charges)}")
    # Asked once for all three first: every check comes by here.
    if not (
        type(now_us) is type(max_wait_us) is type(ttl_us) is int
        and now_us == max_wait_us == 0 < ttl_us <= MOST_US
    ):
        check_units("now_us", now_us)
        check_units("max_wait_us", max_wait_us, MOST_US)
        if check_units("ttl_us", ttl_us, MOST_US) == 0:
            raise ValueError("ttl_us must be at least 1 microsecond")
    return asks_of(charges, reservation_id, wall_us(now_us), -(-ttl_us // 1000), max_wait_us)
