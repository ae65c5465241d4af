"""The courses after a decision: settle, cancel, renew, and the ledger's word on budgets."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_store.model.gcra import check_units
from mesh_store.model.limits import MAX_PICO, Charge, Reservation
from mesh_store.redis import wire
from mesh_store.redis.answers import REUSED, outcomes
from mesh_store.redis.asks import Ask, split
from mesh_store.redis.batches import MAX_REQUESTS, batched
from mesh_store.redis.kinds import most_delta
from mesh_store.redis.steps import Course, Step, raise_first, reused, wall_us
from mesh_store.redis.wire import Adjustment


def settle(settlements: Sequence[tuple[Reservation, Sequence[int]]], *, now_us: int) -> Course:
    """True reservations up; returns for each whether it was open."""
    adjustments = []
    for reservation, given in settlements:
        charges = reservation.charges
        deltas = _deltas(charges, given)
        asks = split(charges, reservation.id, reservation.reserved_at_us)
        adjustments.append([Adjustment(ask, [deltas[at] for at in ask.part.positions]) for ask in asks])
    return (yield from _apply(adjustments, now_us))


def cancel(
    cancellations: Sequence[tuple[str, Sequence[Charge]]], *, reserved_at_us: int = 0, now_us: int = 0
) -> Course:
    """Give everything back; an id nobody knows yet is refused when it comes late."""
    check_units("reserved_at_us", reserved_at_us)
    unsure = reserved_at_us == 0
    at_us = reserved_at_us or wall_us(now_us)
    adjustments = [
        [
            Adjustment(ask, _all_back(ask), cancel=True, before=unsure)
            for ask in split(charges, reservation_id, at_us)
        ]
        for reservation_id, charges in cancellations
    ]
    return (yield from _apply(adjustments, now_us))


def cancelling(ask: Ask, now_us: int) -> Step:
    """Return the step that gives one tag's charges back."""
    part = Adjustment(ask, _all_back(ask), cancel=True)
    return wire.settle([part], now_us)


def renew(reservations: Sequence[Reservation], *, ttl_us: int, now_us: int) -> Course:
    """Keep slots and records of calls that still run; returns for each whether it kept its slots."""
    check_units("now_us", now_us)
    lifetime_ms = -(-check_units("ttl_us", ttl_us) // 1000)
    owned = [
        (owner, ask)
        for owner, held in enumerate(reservations)
        for ask in split(held.charges, held.id, held.reserved_at_us, lifetime_ms)
    ]
    batches = batched([ask for _, ask in owned])
    replies = yield [wire.renew([owned[i][1] for i in batch], now_us) for batch in batches]
    raise_first(replies, "renew")
    kept = [True] * len(reservations)
    for batch, reply in zip(batches, replies, strict=True):
        for i, outcome in zip(batch, outcomes(reply, len(batch)), strict=True):
            kept[owned[i][0]] &= outcome == 1
    return kept


def commit(
    charge: Charge, at_us: int, spent_pico: int, version: int, settled: Sequence[str], *, now_us: int
) -> Course:
    """Set what the ledger counted in a budget's window; returns whether its version was newer."""
    check_units("spent_pico", spent_pico, MAX_PICO)
    check_units("version", version)
    # An empty list still carries the count; a long one carries it every time, which changes nothing.
    parts = [settled[i : i + MAX_REQUESTS] for i in range(0, max(1, len(settled)), MAX_REQUESTS)]
    replies = yield [wire.commit(charge, at_us, spent_pico, version, part, now_us) for part in parts]
    raise_first(replies, "commit")
    return any(outcomes(reply, 1) == [1] for reply in replies)


def _deltas(charges: Sequence[Charge], given: Sequence[int]) -> list[int]:
    deltas = list(given) or [0] * len(charges)
    if len(deltas) != len(charges):
        raise ValueError(f"deltas must be {len(charges)}, one per charge, not {len(deltas)}")
    for charge, delta in zip(charges, deltas, strict=True):
        most = most_delta(charge)
        if type(delta) is not int or not -charge.amount <= delta <= most:
            raise ValueError(
                f"delta of {charge.key} must be a whole number from -{charge.amount} to {most}, not {delta!r}"
            )
    return deltas


def _all_back(ask: Ask) -> list[int]:
    return [-amount for amount in ask.amounts]


def _apply(adjustments: list[list[Adjustment]], now_us: int) -> Course:
    """Send settlements in as few calls as their tags allow."""
    check_units("now_us", now_us)
    owned = [(owner, part) for owner, parts in enumerate(adjustments) for part in parts]
    batches = batched([part.ask for _, part in owned])
    replies = yield [wire.settle([owned[i][1] for i in batch], now_us) for batch in batches]
    raise_first(replies, "settle")
    applied = [False] * len(adjustments)
    for batch, told in zip(batches, replies, strict=True):
        for i, outcome in zip(batch, told, strict=True):
            owner, part = owned[i]
            if outcome == REUSED:
                raise reused(part.ask.id)
            applied[owner] = applied[owner] or outcome == 1
    return applied
