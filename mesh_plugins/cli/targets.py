"""Targets, prices and parameters as they are written on a command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mesh_store.model.errors import Rejected

_NUMBERS = ("weight", "tier", "max_output_tokens", "context_window")


def parse_target(text: str) -> dict[str, Any]:
    """Read ``provider/model[,weight=9][,tier=2][,canary=5%][,max_output_tokens=…][,context_window=…]``.

    Raises:
        Rejected: says what cannot be read.
    """
    place, *options = text.split(",")
    provider, _, model = place.partition("/")
    if not provider or not model:
        raise Rejected(
            f"{text!r} is not a target; write it like 'openai/gpt-5-mini,weight=9'", field="target"
        )
    target: dict[str, Any] = {"provider": provider, "model": model}
    for option in options:
        name, _, number = option.strip().partition("=")
        if name == "canary" and number:
            target[name] = number
            continue
        if name not in _NUMBERS or not number.isdecimal() or not number.isascii():
            known = ", ".join((*(f"{each}=N" for each in _NUMBERS), "canary=N%"))
            raise Rejected(f"{option!r} in {text!r} is not understood (known: {known})", field="target")
        target[name] = int(number)
    return target


def parse_parameters(pairs: Sequence[str], field: str) -> dict[str, Any]:
    """Read ``name=value`` pairs; a value that is JSON is taken as such, everything else as text.

    Raises:
        Rejected: a pair has no name or no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Rejected(f"{pair!r} is not a pair; write it like 'temperature=0.2'", field=field)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def target_text(target: dict[str, Any]) -> str:
    """Write a target as `parse_target` reads it; what is usual is left out."""
    usual = {"weight": 1, "tier": 1}
    named = (*_NUMBERS, "canary")
    options = (f",{name}={target[name]}" for name in named if target.get(name) != usual.get(name))
    return f"{target['provider']}/{target['model']}{''.join(options)}"
