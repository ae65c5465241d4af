"""What budgets were charged by a call that ended; travels beside the facts.

Budgets live in calendar windows, and a call belongs to the window of its reservation. The ledger
counts a `Spending` when it counts its fact, so a repeat of one is a repeat of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mesh_store.model.facts import Settlement
from mesh_store.model.limits import Charge


class Spending(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """Money of one settlement.

    Attributes:
        fact: id of the fact it came with; None when that was dropped because the ring was full.
        reservation: id of the reservation.
        reserved_at_us: server time of the grant; decides the window.
        charges: the budgets, with what was really taken.
    """

    fact: str | None
    reservation: str
    reserved_at_us: int
    charges: tuple[Charge, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Spending]).decode


def spending_of(settlement: Settlement, fact: str | None) -> Spending | None:
    """Return what a settlement takes from budgets; None when it takes from none."""
    reservation = settlement.reservation
    charges = tuple(
        Charge(charge.key, charge.limit, actual)
        for charge, actual in zip(reservation.charges, settlement.actual, strict=False)
        if charge.limit.kind == "window"
    )
    return Spending(fact, reservation.id, reservation.reserved_at_us, charges) if charges else None


def encode(spendings: Sequence[Spending]) -> bytes:
    """Encode for the stream; nothing for nothing."""
    return _encode(spendings) if spendings else b""


def decode(money: bytes) -> list[Spending]:
    """Decode what the stream carried.

    Raises:
        msgspec.MsgspecError: when it is damaged.
    """
    return _decode(money) if money else []


def reservations(spendings: Iterable[Spending]) -> dict[str, list[str]]:
    """Return the reservations that charged each budget key."""
    found: dict[str, list[str]] = {}
    for spending in spendings:
        for charge in spending.charges:
            found.setdefault(charge.key, []).append(spending.reservation)
    return found
