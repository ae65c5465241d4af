"""The built-in list of prices (genai-prices), in whole pico-USD per token, and since when it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec.structs import replace

from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Daily, Rates, Terms, Tier

#: USD per million tokens to pico-USD per token.
_PICO_PER_TOKEN = 10**6
#: Where the providers of our kinds live when they name no URL, as genai-prices calls them.
_OWN_ADDRESS = {"openai": "openai", "anthropic": "anthropic", "litellm": "litellm"}
#: What a variant's condition may be about for its value to be the name of a service.
_SERVICES = ("processing", "service_tier", "speed")
#: Our names of rates, and the list's of the same price per million tokens.
_NAMES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
}


class Change(NamedTuple):
    """Rates from a moment on, microseconds since the epoch; None is no price."""

    from_us: int
    rates: Rates | None


class Listed(NamedTuple):
    """What the list knows of a model.

    Attributes:
        changes: its rates in order of time, the first from the beginning of time.
        window: its context window in tokens, or None.
    """

    changes: tuple[Change, ...]
    window: int | None


_UNKNOWN = Listed((Change(0, None),), None)


def listed(provider: Provider, model: str) -> Listed:
    """Return what the list knows of a provider's model."""
    return _listed(provider.kind, provider.base_url, bool(provider.options.get("azure")), model)


def per_token(usd_per_million: Decimal | None) -> int | None:
    """Convert USD per million tokens to pico-USD per token."""
    if usd_per_million is None:
        return None
    return int((usd_per_million * _PICO_PER_TOKEN).to_integral_value(rounding=ROUND_HALF_EVEN))


def list_id_of(kind: str, base_url: str | None, options: Mapping[str, Any]) -> str | None:
    """Return what the list calls the vendor; None where its address tells."""
    return "azure" if options.get("azure") else _OWN_ADDRESS[kind] if base_url is None else None


@lru_cache(maxsize=65_536)
def _listed(kind: str, base_url: str | None, azure: bool, model: str) -> Listed:
    """A miss walks the whole list (a millisecond), so every answer is remembered."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:  # without the list only operators' own prices count
        return _UNKNOWN
    provider_id = list_id_of(kind, base_url, {"azure": azure})
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider_id, base_url)
    except LookupError:
        return _UNKNOWN
    changes: list[Change] = []
    for day in sorted({date(1970, 1, 1), *_days(found)}):
        rates = _of_day(found, day)
        if not changes or changes[-1].rates != rates:
            changes.append(Change(int(_midnight(day).timestamp()) * 1_000_000, rates))
    return Listed(tuple(changes), found.context_window)


def _constraints(model: Any) -> Iterator[Any]:
    conditional = model.prices if isinstance(model.prices, list) else ()
    for priced in (*conditional, *(model.price_variants or ())):
        if priced.constraint is not None:
            yield priced.constraint


def _days(model: Any) -> Iterator[date]:
    """Yield the days on which something changes."""
    return (each.start_date for each in _constraints(model) if hasattr(each, "start_date"))


def _seconds(model: Any) -> Iterator[int]:
    """Yield the seconds of a day (UTC) at which something changes."""
    for each in _constraints(model):
        for moment in (getattr(each, "start_time", None), getattr(each, "end_time", None)):
            if moment is not None:
                zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                at = datetime.combine(date(1970, 1, 1), zoned).astimezone(UTC).time()
                yield at.hour * 3600 + at.minute * 60 + at.second


def _of_day(model: Any, day: date) -> Rates | None:
    """Return the rates of one day, with what differs in parts of it."""
    bounds = sorted({0, *_seconds(model), 86_400})
    parts = [
        (start, end, _at(model, _midnight(day) + timedelta(seconds=start))) for start, end in pairwise(bounds)
    ]
    base = parts[0][2]
    daily = tuple(
        Daily(start, end, rates) for start, end, rates in parts if rates is not None and rates != base
    )
    if base is None or not daily:
        return base
    return replace(base, terms=replace(base.terms or Terms(), daily=daily))


def _at(model: Any, moment: datetime) -> Rates | None:
    """Return the rates of one moment, with those of other services."""
    base = _sheet(model.get_prices(moment))
    if base is None:
        return None
    services: dict[str, Rates] = {}
    for variant in model.price_variants or ():
        (name, value), *more = variant.when.items()
        if name in _SERVICES and not more:
            rates = _sheet(model.get_prices(moment, {name: value}))
            if rates is not None and rates != base:
                services[value] = rates
    if not services:
        return base
    return replace(base, terms=replace(base.terms or Terms(), services=services))


def _sheet(prices: Any) -> Rates | None:
    """Return the rates of a price sheet with its tiers, or None when it has none per token."""
    found = {ours: getattr(prices, theirs) for ours, theirs in _NAMES.items()}
    if found["input"] is None and found["output"] is None:
        return None
    request = per_token(prices.requests_kcount)
    thresholds = sorted({tier.start for price in found.values() for tier in getattr(price, "tiers", ())})

    def above(tokens: int) -> Rates:
        rates = {name: per_token(_price_above(price, tokens)) for name, price in found.items()}
        rates["input"], rates["output"] = rates["input"] or 0, rates["output"] or 0
        return Rates(**rates, request=(request or 0) * 1_000)  # type: ignore[arg-type]

    base = above(-1)
    tiers = tuple(Tier(tokens, above(tokens)) for tokens in thresholds)
    return replace(base, terms=Terms(tiers=tiers)) if tiers else base


def _price_above(price: Any, tokens: int) -> Decimal | None:
    """Return what a price is for calls of more than so many input tokens; the whole call pays it."""
    if price is None or isinstance(price, Decimal):
        return price
    reached: list[Decimal] = [tier.price for tier in price.tiers if tier.start <= tokens]
    base: Decimal = price.base
    return reached[-1] if reached else base


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
