"""Prices of the models a target with a ``*`` may be asked for: every one that is known by name.

The built-in list knows models by rules: some names exactly, others by how they begin, which is how vendors
date them. Names go onto the card with their prices; for those that begin others, a date may follow. A model
that neither covers is unpriced, never free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mesh_store.model.passed_prices import PassedPrices
from mesh_store.model.patterns import prefix_of
from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Rates
from mesh_store.postgres.price_list import list_id_of
from mesh_store.postgres.rates import Prices


def passed_prices(
    prices: Prices, provider: Provider, model: str, own: Iterable[str], now_us: int
) -> PassedPrices:
    """Return what a target may be asked for, with its prices from a moment on.

    Args:
        prices: what models cost.
        provider: of the target.
        model: the target's, with its ``*``.
        own: models of the provider that have a price of the operator's own.
        now_us: from when on, microseconds since the epoch.
    """
    prefix = prefix_of(model)
    models: dict[str, Rates] = {}
    stems: set[str] = set()
    for name, is_stem in _listed(provider, model):
        rates = prices.of(provider.id, name).since(now_us) if name.startswith(prefix.lower()) else None
        if rates is not None:
            models[name] = rates
            if is_stem:
                stems.add(name)
    for name in own:
        if name.startswith(prefix) and (rates := prices.of(provider.id, name).since(now_us)) is not None:
            models[name] = rates
    return PassedPrices(id=f"{provider.id}/{model}", models=models, stems=tuple(sorted(stems)))


def _listed(provider: Provider, model: str) -> Iterator[tuple[str, bool]]:
    """Yield the names the list may know of a provider's models, and whether others begin like it."""
    if provider.kind != "litellm":
        yield from _names(list_id_of(provider.kind, provider.base_url, provider.options), provider.base_url)
        return
    vendor = model.partition("/")[0]
    for name, is_stem in _names(vendor, None):
        yield f"{vendor}/{name}", is_stem


@cache
def _names(list_id: str | None, base_url: str | None) -> tuple[tuple[str, bool], ...]:
    """Return the names in the list's rules for a vendor, and for those it falls back to."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:  # without the list only operators' own prices count
        return ()
    book = get_snapshot()
    try:
        vendor = book.find_provider(None, list_id, base_url)
    except LookupError:
        return ()
    meant = {vendor.id, *(vendor.fallback_model_providers or ())}
    models = [model for each in book.providers if each.id in meant for model in each.models]
    return tuple(sorted({text for model in models for text in _texts(model.match)}))


def _texts(rule: Any) -> Iterator[tuple[str, bool]]:
    for each in getattr(rule, "or_", None) or (rule,):
        if (text := getattr(each, "equals", None)) is not None:
            yield text.lower(), False
        elif (text := getattr(each, "starts_with", None) or getattr(each, "contains", None)) is not None:
            yield text.lower(), True
