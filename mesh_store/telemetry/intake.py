"""From a stream entry to facts that may be stored, and to what may not, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from mesh_store.model.facts import FACT_VERSION, Fact
from mesh_store.postgres.usage_write import Dead
from mesh_store.redis.stream import Batch
from mesh_store.telemetry import spending
from mesh_store.telemetry.spending import Spending

#: How far ahead of the collector's clock a fact may be.
FUTURE_US = 10 * 60 * 1_000_000

#: The reason of what a newer version wrote.
NEWER = "newer_version"

_facts = msgspec.msgpack.Decoder(list[Fact])
_pieces = msgspec.msgpack.Decoder(list[msgspec.Raw])
_fact = msgspec.msgpack.Decoder(Fact)
_encode = msgspec.msgpack.Encoder().encode


class Horizon(NamedTuple):
    """Between which moments a fact must lie, microseconds since the epoch."""

    oldest_us: int
    newest_us: int


class Taken(NamedTuple):
    """What became of a batch."""

    facts: list[Fact]
    dead: list[Dead]
    spendings: list[Spending]


def take(batch: Batch, horizon: Horizon) -> Taken:
    """Decode a batch; one bad fact does not cost the others.

    A batch of a newer version is parked whole, its money with it, until a collector that knows that
    version revives it: what its fields mean is not for this one to guess.
    """
    facts: list[Fact] = []
    dead: list[Dead] = []
    try:
        decoded = _facts.decode(batch.body)
        newest = max((fact.version for fact in decoded), default=0)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        newest = _newest(batch.body)
        decoded = [] if newest > FACT_VERSION else _one_by_one(batch, dead)
    if newest > FACT_VERSION:
        return Taken([], [parked(batch.fields(), batch.ring, f"facts of version {newest}")], [])
    for fact in decoded:
        reason = _objection(fact, horizon)
        if reason is None:
            facts.append(fact)
        else:
            dead.append(Dead(*reason, batch.ring, _encode(fact)))
    return Taken(facts, dead, _money(batch, dead))


def parked(fields: Mapping[bytes, Any], ring: str, what: str) -> Dead:
    """Return what keeps an entry of a newer version, as it came, until it can be read."""
    plain = {name: v if isinstance(v, bytes) else str(v).encode() for name, v in fields.items()}
    what += ": upgrade this collector, then run mesh telemetry revive"
    return Dead(NEWER, what, ring, _encode(plain))


def _newest(body: bytes) -> int:
    """Return the highest version among facts that cannot be read; it is their first field."""
    try:
        heads = msgspec.msgpack.decode(body, type=list[list[Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0
    return max((head[0] for head in heads if head and type(head[0]) is int), default=0)


def minted_us(identifier: str) -> int | None:
    """Return when a UUIDv7 was minted, microseconds since the epoch; None when it is not one."""
    if len(identifier) != 36 or identifier[14] != "7":
        return None
    try:
        raw = bytes.fromhex(identifier.replace("-", ""))
    except ValueError:
        return None
    return int.from_bytes(raw[:6], "big") * 1000 if len(raw) == 16 else None


def _one_by_one(batch: Batch, dead: list[Dead]) -> list[Fact]:
    try:
        pieces = _pieces.decode(batch.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        dead.append(Dead("undecodable", str(error), batch.ring, batch.body))
        return []
    facts = []
    for piece in pieces:
        try:
            facts.append(_fact.decode(piece))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            dead.append(Dead("undecodable", str(error), batch.ring, bytes(piece)))
    return facts


def _money(batch: Batch, dead: list[Dead]) -> list[Spending]:
    try:
        return spending.decode(batch.money)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        dead.append(Dead("bad_money", str(error), batch.ring, batch.money))
        return []


def _objection(fact: Fact, horizon: Horizon) -> tuple[str, str] | None:
    minted = minted_us(fact.id)
    if minted is None:
        return "bad_id", f"{fact.id!r} is not a UUIDv7"
    for name, moment in (("id", minted), ("started_at_us", fact.started_at_us)):
        if moment < horizon.oldest_us:
            return "too_old", f"{name} lies before the oldest day that is kept"
        if moment > horizon.newest_us:
            return "too_new", f"{name} lies more than {FUTURE_US // 60_000_000} minutes ahead"
    return None
