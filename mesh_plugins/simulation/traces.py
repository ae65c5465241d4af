"""Traffic to replay, from a file: one call a line, JSON (`.jsonl`, `.ndjson`) or CSV with a header.

======================  ===========================================================================
``at``                  start of the call: microseconds since the epoch, or an ISO 8601 time
``team``                who pays; the manifest's name
``alias``               the model name the caller wrote
``user``, ``key``       the caller; the key's id, which limits on keys name
``end_user``, ``tags``  what the caller said; tags as an object, or as ``a=1;b`` in CSV
``provider``, ``model``  the target that answered, where it is known
``duration_s``          how long a slot was held; 1 second unless said
``input_tokens``, ``output_tokens``, ``max_tokens``
``cost_usd``            what it cost; unless said, by the manifest's prices and the built-in list's
======================  ===========================================================================

``at``, ``team`` and ``alias`` are needed; further fields are passed over. Calls come in any order.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from mesh_plugins.core.words import fit
from mesh_store.model.errors import Rejected
from mesh_store.model.money import pico_usd

_TEXTS = ("user", "key", "end_user", "provider", "model")
_COUNTS = ("input_tokens", "output_tokens")


class Row(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One call of a trace; see this module for the fields. Times are microseconds, money pico-USD."""

    at_us: int
    team: str
    alias: str
    user: str | None = None
    key: str | None = None
    end_user: str | None = None
    tags: dict[str, str] = {}
    provider: str | None = None
    model: str | None = None
    duration_us: int = 1_000_000
    input_tokens: int = 0
    output_tokens: int = 0
    max_tokens: int | None = None
    cost_pico_usd: int | None = None


def read_trace(path: Path) -> list[Row]:
    """Read a trace in the order of time.

    Raises:
        Rejected: names the line and the field that cannot be read.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, said in _lines(file, path.suffix.lower()):
                try:
                    rows.append(row_of(said))
                except (ValueError, InvalidOperation, OverflowError) as error:
                    raise Rejected(f"{path}, line {line}: {error}", field="trace") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} cannot be read: {error}", field="trace") from None
    rows.sort(key=lambda row: row.at_us)
    return rows


def row_of(said: Mapping[str, Any]) -> Row:
    """Return a call as a line of a trace says it.

    Raises:
        ValueError: a field cannot be read; names it.
    """
    for name in ("at", "team", "alias"):
        if said.get(name) in (None, ""):
            raise ValueError(f"{name} is missing")
    values: dict[str, Any] = {
        name: fit(str(said[name])) for name in _TEXTS if said.get(name) not in (None, "")
    }
    values |= {name: _count(name, said[name]) for name in _COUNTS if said.get(name) not in (None, "")}
    if said.get("max_tokens") not in (None, ""):
        values["max_tokens"] = _count("max_tokens", said["max_tokens"])
    if said.get("duration_s") not in (None, ""):
        values["duration_us"] = _scaled("duration_s", said["duration_s"], 1_000_000)
    if said.get("cost_usd") not in (None, ""):
        values["cost_pico_usd"] = pico_usd(_decimal("cost_usd", said["cost_usd"]))
    return Row(
        at_us=_moment(said["at"]),
        team=str(said["team"]),
        alias=str(said["alias"]),
        tags=_tags(said.get("tags")),
        **values,
    )


def row_of_fact(found: Any) -> Row:
    """Return a call as the store says it, see ``usage_trace.sql``."""
    cost = found["cost_pico_usd"]
    return Row(
        at_us=found["at_us"],
        team=found["team"],
        alias=found["alias"],
        user=found["user"],
        key=found["key"],
        end_user=found["end_user"],
        tags=json.loads(found["tags"]),
        provider=found["provider"],
        model=found["model"],
        duration_us=max(0, found["duration_us"]),
        input_tokens=found["input_tokens"],
        output_tokens=found["output_tokens"],
        cost_pico_usd=None if cost is None else int(cost),
    )


def _lines(file: Any, suffix: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if suffix == ".csv":
        reader = csv.DictReader(file)
        for said in reader:
            yield reader.line_num, said
        return
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError as error:
            raise Rejected(f"line {number} is not JSON: {error}", field="trace") from None
        if not isinstance(said, dict):
            raise Rejected(f"line {number} is not an object", field="trace")
        yield number, said


def _moment(value: Any) -> int:
    text = str(value)
    if text.isdigit():
        moment = int(text)
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"at: {text[:40]!r} is neither microseconds nor an ISO 8601 time") from None
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        moment = round(found.timestamp() * 1_000_000)
    if not 0 < moment < 2**53 - 2**44:
        raise ValueError(f"at: {text[:40]!r} is no time this can be reckoned with")
    return moment


def _count(name: str, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdigit() or int(text) > 10**12:
        raise ValueError(f"{name}: {text[:40]!r} is no whole number of tokens")
    return int(text)


def _decimal(name: str, value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or amount < 0 or amount > 10**9:
        raise ValueError(f"{name}: {str(value)[:40]!r} is no amount")
    return amount


def _scaled(name: str, value: Any, scale: int) -> int:
    return int(_decimal(name, value) * scale)


def _tags(value: Any) -> dict[str, str]:
    if not value:
        return {}
    if isinstance(value, str):
        pairs = [each.partition("=") for each in value.split(";") if each]
        return {fit(name.strip()): fit(said) for name, _, said in pairs}
    if isinstance(value, Mapping):
        return {fit(str(name)): fit(str(said)) for name, said in value.items()}
    if isinstance(value, list):
        return {fit(str(name)): "" for name in value}
    raise ValueError("tags: write an object, or 'a=1;b'")
