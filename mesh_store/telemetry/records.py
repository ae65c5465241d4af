"""What the ring holds and how it becomes a stream entry.

The writer encodes whole records; the shipper never decodes a fact again: it takes the encoded bytes
out of the record and joins them into one array.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh_store.model.facts import (
    Asked,
    Cancel,
    Done,
    Fact,
    Intent,
    LeaseAsked,
    LeaseEnded,
    Settlement,
    SlotsMoved,
)
from mesh_store.model.limits import Charge, Limit, Reservation


class Closed(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="s"):
    """What is left of a `Done` whose fact found no room: the money and the intent it closes."""

    settlement: Settlement | None
    closes: str | None


class StoredCharge(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A `Charge` with its limit still encoded: few limits come again and again."""

    key: str
    limit: msgspec.Raw
    amount: int
    enforce: bool = True


class StoredReservation(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A `Reservation`, field by field."""

    id: str
    charges: tuple[StoredCharge, ...]
    reserved_at_us: int
    expires_at_us: int

    def revive(self) -> Reservation:
        """Return the reservation."""
        charges = tuple([Charge(c.key, _limit(c.limit), c.amount, c.enforce) for c in self.charges])
        return Reservation(self.id, charges, self.reserved_at_us, self.expires_at_us)


class StoredSettlement(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """A `Settlement`, field by field."""

    reservation: StoredReservation
    actual: tuple[int, ...]

    def revive(self) -> Settlement:
        """Return the settlement."""
        return Settlement(self.reservation.revive(), self.actual)


class StoredClosed(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="s"):
    """A `Closed` with its settlement as stored."""

    settlement: StoredSettlement | None
    closes: str | None


class StoredIntent(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="i"):
    """An `Intent` with its fact still encoded."""

    lost: msgspec.Raw
    reservation: StoredReservation | None
    deadline_us: int
    also: tuple[StoredReservation, ...] = ()


class StoredDone(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="d"):
    """A `Done` with its fact still encoded."""

    fact: msgspec.Raw
    settlement: StoredSettlement | None = None
    closes: str | None = None


class StoredAsked(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="a"):
    """An `Asked` with its charges still encoded: hardly any is ever looked at."""

    reservation_id: str
    charges: msgspec.Raw = msgspec.Raw()
    instead: str = ""

    def cancel(self) -> Cancel:
        """Return what gives back whatever was granted."""
        return Cancel(self.reservation_id, _charges(self.charges))


class FactHead(msgspec.Struct, gc=False, frozen=True, array_like=True):
    """The first fields of a fact, all that telling facts apart needs."""

    version: int
    id: str


class _ReservationHead(msgspec.Struct, gc=False, frozen=True, array_like=True):
    id: str


class _IntentBegins(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="i"):
    """As much of an `Intent` as pairing it with its ending needs."""

    lost: FactHead
    reservation: _ReservationHead | None = None
    deadline_us: int = 0
    also: tuple[_ReservationHead, ...] = ()


class _DoneEnds(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="d"):
    fact: msgspec.Raw
    settlement: msgspec.Raw = msgspec.Raw()
    closes: str | None = None


class _ClosedEnds(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="s"):
    settlement: msgspec.Raw
    closes: str | None


class _CancelEnds(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="c"):
    reservation_id: str


class _LeaseBegins(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """As much of a `LeaseAsked` as pairing it with its end needs."""

    lease: _ReservationHead


class _LeaseEnds(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    lease: _ReservationHead


class _FactOfDone(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="d"):
    """As much of a `Done` as shipping needs; decoding stops after it."""

    fact: msgspec.Raw


class _FactOfIntent(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="i"):
    lost: msgspec.Raw


class _NoFactCancel(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="c"):
    pass


class _NoFactClosed(msgspec.Struct, gc=False, frozen=True, array_like=True, tag="s"):
    pass


Stored = (
    StoredIntent | StoredDone | Cancel | StoredClosed | StoredAsked | LeaseAsked | LeaseEnded | SlotsMoved
)
#: A record as it was read, or as it was written.
Known = Stored | Intent | Done | Closed | Asked

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Stored] = msgspec.msgpack.Decoder(Stored)
_head = msgspec.msgpack.Decoder(FactHead)
_fact = msgspec.msgpack.Decoder(Fact)
_fact_of_done = msgspec.msgpack.Decoder(_FactOfDone)
_facts_within: msgspec.msgpack.Decoder[_FactOfDone | _FactOfIntent | _NoFactCancel | _NoFactClosed] = (
    msgspec.msgpack.Decoder(_FactOfDone | _FactOfIntent | _NoFactCancel | _NoFactClosed)
)


_Pairing = _IntentBegins | StoredAsked | _DoneEnds | _ClosedEnds | _CancelEnds | _LeaseBegins | _LeaseEnds
_pairing: msgspec.msgpack.Decoder[_Pairing] = msgspec.msgpack.Decoder(_Pairing)
_decode_limit = msgspec.msgpack.Decoder(Limit).decode
_charges = msgspec.msgpack.Decoder(tuple[Charge, ...]).decode
_limits: dict[bytes, Limit] = {}


def _limit(encoded: msgspec.Raw) -> Limit:
    """Decode a limit, or return the one that was decoded from the same bytes before."""
    key = bytes(encoded)
    limit = _limits.get(key)
    if limit is None:
        if len(_limits) > 4096:
            _limits.clear()
        limit = _limits[key] = _decode_limit(key)
    return limit


def decode(payload: bytes) -> Stored | None:
    """Decode a record of the ring; None when it is not one (written by something newer)."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def fact_within(payload: bytes) -> msgspec.Raw:
    """Return the encoded fact of a record that was encoded from a `Done`."""
    return _fact_of_done.decode(payload).fact


def fact_and_settlement(record: Known, payload: bytes) -> tuple[msgspec.Raw | None, Settlement | None]:
    """Return the encoded fact of a record and what it settles; None where it has none."""
    # Types are compared, not tested: this is asked of every record.
    if type(record) is Done:
        return fact_within(payload), record.settlement
    if type(record) is Closed:
        return None, record.settlement
    stored, fact = None, None
    if type(record) is StoredDone:
        fact, stored = record.fact, record.settlement
    elif type(record) is StoredClosed:
        stored = record.settlement
    return fact, None if stored is None else stored.revive()


def facts_within(payload: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the encoded fact of a `Done` and the encoded ``lost`` fact of an `Intent`; None where absent."""
    try:
        record = _facts_within.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, None
    return (
        bytes(record.fact) if isinstance(record, _FactOfDone) else None,
        bytes(record.lost) if isinstance(record, _FactOfIntent) else None,
    )


def begins_or_ends(payload: bytes) -> tuple[str | None, Sequence[str]]:
    """Return the intent, question or lease a record begins, or None, and those it ends."""
    try:
        record = _pairing.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, ()
    if isinstance(record, _IntentBegins):
        granted = () if record.reservation is None else (record.reservation, *record.also)
        return record.lost.id, [each.id for each in granted]
    if isinstance(record, StoredAsked):
        return record.reservation_id, [record.instead] if record.instead else ()
    if isinstance(record, _LeaseBegins):
        return record.lease.id, ()
    if isinstance(record, _LeaseEnds):
        return None, [record.lease.id]
    if isinstance(record, _CancelEnds):
        return None, [record.reservation_id]
    return None, () if record.closes is None else [record.closes]


def fact_id(encoded: bytes | msgspec.Raw) -> str:
    """Return the id of an encoded fact; "" where a plugin put there what can be none."""
    try:
        return _head.decode(encoded).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def decode_fact(encoded: bytes | msgspec.Raw) -> Fact:
    """Decode one fact.

    Raises:
        msgspec.MsgspecError: when it is not one.
    """
    return _fact.decode(encoded)


def closed(done: Done | Closed | Intent | Cancel) -> bytes | None:
    """Encode what must survive of a record that found no room; None when nothing must.

    Of an intent that its call was granted: what it holds may be spent now, and is not to be given back.
    """
    if isinstance(done, Intent):
        granted = (done.reservation, *done.also)[-1]
        return None if granted is None else encode(Closed(None, granted.id))
    if isinstance(done, Cancel):
        return encode(done)
    if done.settlement is None and done.closes is None:
        return None
    return encode(Closed(done.settlement, done.closes))


def kept(reservation: Reservation) -> Settlement:
    """Settle at what was reserved: nobody can tell any more what the call really took."""
    return Settlement(reservation, tuple(charge.amount for charge in reservation.charges))


def join(facts: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Join encoded facts into one msgpack array."""
    count = len(facts)
    start = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return start + b"".join(facts)
