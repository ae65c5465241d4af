"""The rate card of one snapshot: what every target costs, in whole pico-USD per token.

An operator's own price comes first, then the list of genai-prices at the time of compiling. What
neither knows stays out of the card: unpriced, never free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

import msgspec

from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Rates

#: USD per million tokens to pico-USD per token.
_PICO_PER_TOKEN = 10**6
#: USD to pico-USD.
_PICO = 10**12
#: Where the providers of our kinds live when they name no URL, as genai-prices calls them.
_OWN_ADDRESS = {"openai": "openai", "anthropic": "anthropic", "litellm": "litellm"}


class RateCard:
    """Prices of the targets asked for; read ``rates`` and ``name`` when all were.

    Attributes:
        rates: by target id.
    """

    def __init__(self, providers: Iterable[Provider], own_prices: Sequence[Any]) -> None:
        self.rates: dict[str, Rates] = {}
        self._providers = {provider.id: provider for provider in providers}
        self._own = {(row["provider_id"], row["model"]): _own_rates(row) for row in own_prices}
        # One day's resolution: cheap to remember, and prices change on dates.
        self._day = datetime.now(UTC).date()

    def price(self, target_id: str, provider_id: str, model: str) -> int | None:
        """Put a target's price on the card, and return its model's context window when it is known."""
        provider = self._providers[provider_id]
        listed, window = _listed(
            provider.kind,
            provider.base_url,
            bool(provider.options.get("azure")),
            model,
            self._day.isoformat(),
        )
        rates = self._own.get((provider_id, model)) or listed
        if rates is not None:
            self.rates[target_id] = rates
        return window

    @property
    def name(self) -> str:
        """The card's version: equal for equal prices, whatever they came from."""
        body = msgspec.msgpack.encode(self.rates, order="deterministic")
        return f"rates-{hashlib.sha256(body).hexdigest()[:12]}"


def _own_rates(row: Any) -> Rates:
    return Rates(
        input=_per_token(row["input"]) or 0,
        output=_per_token(row["output"]) or 0,
        cache_read=_per_token(row["cache_read"]),
        cache_write=_per_token(row["cache_write"]),
        reasoning=_per_token(row["reasoning"]),
        request=int(row["request"] * _PICO),
    )


@lru_cache(maxsize=65_536)
def _listed(
    kind: str, base_url: str | None, azure: bool, model: str, day: str
) -> tuple[Rates | None, int | None]:
    """Return what genai-prices knows of a model: its rates on a day and its context window.

    A miss walks the whole list (a millisecond), so both answers are remembered.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:  # without the list only operators' own prices count
        return None, None
    provider_id = "azure" if azure else _OWN_ADDRESS[kind] if base_url is None else None
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider_id, base_url)
    except LookupError:
        return None, None
    prices = found.get_prices(datetime.fromisoformat(day).replace(tzinfo=UTC))
    rates = {
        "input": _base(prices.input_mtok),
        "output": _base(prices.output_mtok),
        "cache_read": _base(prices.cache_read_mtok),
        "cache_write": _base(prices.cache_write_mtok),
    }
    if rates["input"] is None and rates["output"] is None:
        return None, found.context_window
    request = _base(prices.requests_kcount)
    return (
        Rates(
            input=rates["input"] or 0,
            output=rates["output"] or 0,
            cache_read=rates["cache_read"],
            cache_write=rates["cache_write"],
            request=(request or 0) * 1_000,
        ),
        found.context_window,
    )


def _base(price: Any) -> int | None:
    """Return a listed price per token; of a price with tiers the first one, which most calls pay."""
    if price is None or isinstance(price, Decimal):
        return _per_token(price)
    return _per_token(price.base)


def _per_token(usd_per_million: Decimal | None) -> int | None:
    if usd_per_million is None:
        return None
    return int((usd_per_million * _PICO_PER_TOKEN).to_integral_value(rounding=ROUND_HALF_EVEN))
