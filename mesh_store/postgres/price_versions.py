"""An operator's own prices through time: only ever appended to, and what was recorded last wins.

One row is the price of one model for one service (``standard`` unless said) and calls above so many
input tokens, valid in a span of time. A row without rates goes back to the built-in list.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from mesh_store.model.usage import Rates, Terms, Tier
from mesh_store.postgres.base import metadata
from mesh_store.postgres.price_list import per_token

#: The service of calls that name none.
STANDARD = "standard"
#: Prices of a row in USD per million tokens, named as in `Rates`; ``request`` is USD per call.
PER_MILLION = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "audio_input",
    "audio_output",
)
#: USD to pico-USD.
_PICO = 10**12

price_versions = Table(
    "price_versions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "provider_id", Uuid(as_uuid=False), ForeignKey("providers.id", ondelete="RESTRICT"), nullable=False
    ),
    Column("model", Text, nullable=False),
    Column("service", Text, nullable=False, server_default=STANDARD),
    Column("above", BigInteger, nullable=False, server_default=text("0")),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_to", DateTime(timezone=True)),
    *[Column(name, Numeric(18, 6)) for name in PER_MILLION],
    Column("request", Numeric(18, 6), nullable=False, server_default=text("0")),
    Column("actor", Text, nullable=False, server_default=""),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("char_length(model) BETWEEN 1 AND 256", name="model_length"),
    CheckConstraint("service ~ '^[a-z0-9][a-z0-9._-]{0,63}$'", name="service_form"),
    CheckConstraint("above >= 0", name="above_range"),
    CheckConstraint("valid_to > valid_from", name="span_forward"),
    CheckConstraint("(input IS NULL) = (output IS NULL)", name="both_rates"),
    *[
        CheckConstraint(f"{name} >= 0 AND {name} <= 1000000", name=f"{name}_range")
        for name in (*PER_MILLION, "request")
    ],
    Index("ix_price_versions_provider_id_model", "provider_id", "model"),
)


class OwnPrices:
    """What an operator says one model costs.

    Args:
        rows: of ``price_versions``, in the order of recording.

    Attributes:
        moments: when something begins or ends, microseconds since the epoch.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = [
            (_us(row["valid_from"]), None if row["valid_to"] is None else _us(row["valid_to"]), row)
            for row in rows
        ]
        self.moments = {
            moment for begins, ends, _ in self._rows for moment in (begins, ends) if moment is not None
        }

    def at(self, moment_us: int) -> Rates | None:
        """Return the rates of a moment; None where the built-in list's apply."""
        in_force: dict[str, dict[int, Rates | None]] = {}
        for begins, ends, row in self._rows:
            if begins <= moment_us and (ends is None or moment_us < ends):
                in_force.setdefault(row["service"], {})[row["above"]] = _rates(row)
        standard = _sheet(in_force.pop(STANDARD, {}))
        if standard is None:
            return None
        services = {name: rates for name, found in in_force.items() if (rates := _sheet(found)) is not None}
        if not services:
            return standard
        return replace(standard, terms=replace(standard.terms or Terms(), services=services))


def _sheet(by_size: dict[int, Rates | None]) -> Rates | None:
    """Return one service's rates with their tiers."""
    base = by_size.get(0)
    if base is None:
        return None
    tiers = tuple(
        Tier(above, rates) for above, rates in sorted(by_size.items()) if above and rates is not None
    )
    return replace(base, terms=Terms(tiers=tiers)) if tiers else base


def _rates(row: Any) -> Rates | None:
    if row["input"] is None:
        return None
    rates = {name: per_token(row[name]) for name in PER_MILLION}
    return Rates(**rates, request=int(row["request"] * _PICO))  # type: ignore[arg-type]


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
