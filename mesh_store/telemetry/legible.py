"""What is left of a fact in which a plugin put what cannot be written down."""

from __future__ import annotations

import typing
from typing import Any

import msgspec

from mesh_store.model.facts import Fact
from mesh_store.telemetry.records import encode

_TYPES = typing.get_type_hints(Fact)
#: What stands for a field without a default that cannot be written down.
_BLANK: dict[Any, Any] = {int: 0, str: "", bool: False}


def legible(fact: Fact) -> Fact:
    """Return the fact without the fields that cannot be encoded, or not be read as what they are."""
    said = {field.name: _said(fact, field) for field in msgspec.structs.fields(Fact)}
    return Fact(**said)


def _said(fact: Fact, field: msgspec.structs.FieldInfo) -> Any:
    value, kind = getattr(fact, field.name), _TYPES[field.name]
    try:
        msgspec.msgpack.decode(encode(value), type=kind)
    except (TypeError, ValueError, OverflowError, RecursionError):
        if field.default is not msgspec.NODEFAULT:
            return field.default
        if field.default_factory is not msgspec.NODEFAULT:
            return field.default_factory()
        return "lost" if field.name == "outcome" else _BLANK.get(kind)
    return value
