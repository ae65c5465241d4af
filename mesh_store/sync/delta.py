"""The difference of two documents, object by object.

A delta holds what is new or changed, with its position, and names what is gone. Applied to exactly
the document it was made from it gives exactly the other one, order included; the sizes it carries
catch a base that was not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from mesh_store.model.errors import ConfigError
from mesh_store.model.passed_prices import PassedPrices
from mesh_store.model.sealing import SealedSecret
from mesh_store.model.signing import Place
from mesh_store.model.snapshot import Alias, LimitRule, Provider, SnapshotDocument, Team
from mesh_store.model.usage import Rates

#: Fields of the document that are tuples of objects with an id.
COLLECTIONS = ("teams", "providers", "aliases", "limits", "sealed", "passed")

_T = TypeVar("_T", Team, Provider, Alias, LimitRule, SealedSecret, PassedPrices)


class DocumentDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one publish changed.

    Attributes:
        base: revision of the document it applies to, in the same epoch.
        revision, compiled_at_us, rate_card: of the document it leads to.
        sizes: how many objects each collection then has, in the order of `COLLECTIONS`, then rates.
        teams, providers, aliases, limits, sealed, passed: objects that are new or changed.
        rates: prices that are new or changed, by target.
        positions: index of each of these objects in the collection it leads to, by collection.
        gone: ids that are no more, by collection or ``rates``.
    """

    base: int
    revision: int
    compiled_at_us: int
    sizes: tuple[int, ...]
    rate_card: str | None = None
    teams: tuple[Team, ...] = ()
    providers: tuple[Provider, ...] = ()
    aliases: tuple[Alias, ...] = ()
    limits: tuple[LimitRule, ...] = ()
    rates: dict[str, Rates] = {}
    positions: dict[str, tuple[int, ...]] = {}
    gone: dict[str, tuple[str, ...]] = {}
    sealed: tuple[SealedSecret, ...] = ()
    passed: tuple[PassedPrices, ...] = ()


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(DocumentDelta)


def encode_delta(delta: DocumentDelta) -> bytes:
    """Encode a delta to msgpack."""
    return _encoder.encode(delta)


def decode_delta(body: bytes) -> DocumentDelta:
    """Decode a delta.

    Raises:
        ConfigError: when it is damaged.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"a published delta cannot be read: {error}") from error


def difference(old: SnapshotDocument, new: SnapshotDocument) -> DocumentDelta | None:
    """Return what leads from ``old`` to ``new``, or None when only the whole document can tell.

    None means another epoch, no progress, or objects that stayed the same but changed places.
    """
    if old.epoch != new.epoch or new.revision <= old.revision:
        return None
    changed: dict[str, Any] = {}
    positions: dict[str, tuple[int, ...]] = {}
    gone: dict[str, tuple[str, ...]] = {}
    for name in COLLECTIONS:
        before = {item.id: item for item in getattr(old, name)}
        after = getattr(new, name)
        moved = [(index, item) for index, item in enumerate(after) if before.get(item.id) != item]
        changed[name] = tuple(item for _, item in moved)
        positions[name] = tuple(index for index, _ in moved)
        gone[name] = tuple(before.keys() - {item.id for item in after})
        if _merged(getattr(old, name), changed[name], positions[name], gone[name]) != after:
            return None
    gone["rates"] = tuple(old.rates.keys() - new.rates.keys())
    return DocumentDelta(
        base=old.revision,
        revision=new.revision,
        compiled_at_us=new.compiled_at_us,
        sizes=_sizes(new),
        rate_card=new.rate_card,
        rates={key: rates for key, rates in new.rates.items() if old.rates.get(key) != rates},
        positions={name: indexes for name, indexes in positions.items() if indexes},
        gone={name: ids for name, ids in gone.items() if ids},
        **changed,
    )


def apply(document: SnapshotDocument, delta: DocumentDelta) -> SnapshotDocument:
    """Return the document a delta leads to.

    Raises:
        ConfigError: when the delta was made from another document.
    """
    if delta.base != document.revision or delta.revision <= delta.base:
        raise ConfigError(
            f"a delta from revision {delta.base} does not apply to revision {document.revision}"
        )
    values: dict[str, Any] = {}
    for name in COLLECTIONS:
        changed, positions = getattr(delta, name), delta.positions.get(name, ())
        values[name] = _merged(getattr(document, name), changed, positions, delta.gone.get(name, ()))
    gone = set(delta.gone.get("rates", ()))
    rates = {target: value for target, value in document.rates.items() if target not in gone}
    result = SnapshotDocument(
        format=document.format,
        epoch=document.epoch,
        revision=delta.revision,
        compiled_at_us=delta.compiled_at_us,
        rates=rates | delta.rates,
        rate_card=delta.rate_card,
        **values,
    )
    if _sizes(result) != delta.sizes:
        raise ConfigError(f"the delta to revision {delta.revision} was made from another document")
    return result


def place_of(document: SnapshotDocument) -> Place:
    """Return where a document stands."""
    return Place(document.epoch, document.revision)


def _merged(
    before: tuple[_T, ...], changed: tuple[_T, ...], positions: tuple[int, ...], gone: Iterable[str]
) -> tuple[_T, ...]:
    if not changed and not gone:
        return before
    replaced = {item.id for item in changed}.union(gone)
    merged = [item for item in before if item.id not in replaced]
    for index, item in zip(positions, changed, strict=False):
        merged.insert(index, item)
    return tuple(merged)


def _sizes(document: SnapshotDocument) -> tuple[int, ...]:
    return (*(len(getattr(document, name)) for name in COLLECTIONS), len(document.rates))
