"""The rate card: what every target costs, in whole pico-USD per token, now and as far as it is known ahead.

What has no price stays out of the card: unpriced, never free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from mesh_store.model.ids import now_us
from mesh_store.model.passed_prices import PassedPrices
from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Rates
from mesh_store.postgres.passed_rates import passed_prices
from mesh_store.postgres.rates import Prices


class RateCard:
    """Prices of the targets asked for; read ``rates`` and ``name`` when all were.

    Attributes:
        rates: by target id.
    """

    def __init__(self, providers: Iterable[Provider], own_prices: Iterable[Any]) -> None:
        self.rates: dict[str, Rates] = {}
        self._passed: dict[str, PassedPrices] = {}
        self._prices = Prices(providers, own_prices)
        self._now_us = now_us()

    def price(self, target_id: str, provider_id: str, model: str) -> int | None:
        """Put a target's price on the card, and return its model's context window when it is known."""
        rates = self._prices.of(provider_id, model).since(self._now_us)
        if rates is not None:
            self.rates[target_id] = rates
        return self._prices.window(provider_id, model)

    def passed(self, provider: Provider, model: str) -> None:
        """Put the prices of every model onto the card that a target with a ``*`` may be asked for."""
        if f"{provider.id}/{model}" not in self._passed:
            own = self._prices.own_models(provider.id)
            made = passed_prices(self._prices, provider, model, own, self._now_us)
            self._passed[made.id] = made

    @property
    def passed_prices(self) -> tuple[PassedPrices, ...]:
        """Prices of what targets with a ``*`` may be asked for."""
        return tuple(self._passed.values())

    @property
    def name(self) -> str:
        """The card's version: equal for equal prices, whatever they came from."""
        body = msgspec.msgpack.encode(self.rates, order="deterministic")
        if self._passed:
            body += msgspec.msgpack.encode(self.passed_prices, order="deterministic")
        return f"rates-{hashlib.sha256(body).hexdigest()[:12]}"
