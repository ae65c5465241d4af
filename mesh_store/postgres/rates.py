"""What models cost, in whole pico-USD per token, at any time and as far as it is known ahead.

An operator's own price comes first, then the list of genai-prices. What neither knows is unpriced, never
free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Later, Rates, Terms
from mesh_store.postgres.price_list import Change, listed
from mesh_store.postgres.price_versions import OwnPrices

#: Stands for the present where there is no price now but will be one; its terms never let it be charged.
_NOTHING = Rates(input=0, output=0)


class Timeline:
    """The rates of one model through time."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes: list[Change] = []
        for change in changes:
            if not self._changes or self._changes[-1].rates != change.rates:
                self._changes.append(change)

    def at(self, moment_us: int) -> Rates | None:
        """Return the rates of a moment, or None where there is no price."""
        place = bisect_right(self._changes, moment_us, key=lambda change: change.from_us)
        return self._changes[max(0, place - 1)].rates

    def since(self, moment_us: int) -> Rates | None:
        """Return rates that are right from a moment on; None when no price is known for any time to come."""
        now = self.at(moment_us)
        later = tuple(Later(*change) for change in self._changes if change.from_us > moment_us)
        if not later:
            return now
        if now is None:
            return replace(_NOTHING, terms=Terms(later=(Later(0, None), *later)))
        return replace(now, terms=replace(now.terms or Terms(), later=later))


class Prices:
    """What models cost at any time: an operator's prices over the built-in list's.

    Args:
        providers: as the snapshot has them.
        versions: rows of ``price_versions``, in the order of recording.
        stands_for: ids of accounts that are priced as another provider, and that provider's.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        versions: Iterable[Any],
        stands_for: Mapping[str, str] | None = None,
    ) -> None:
        self._stands_for = stands_for or {}
        self._providers = {provider.id: provider for provider in providers}
        rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in versions:
            rows[row["provider_id"], row["model"]].append(row)
        self._own = {key: OwnPrices(found) for key, found in rows.items()}
        self._known: dict[tuple[str, str], Timeline] = {}

    def of(self, provider_id: str, model: str) -> Timeline:
        """Return a model's rates through time."""
        key = (self._stands_for.get(provider_id, provider_id), model)
        if key not in self._known:
            self._known[key] = Timeline(self._changes(*key))
        return self._known[key]

    def own_models(self, provider_id: str) -> list[str]:
        """Return the models of a provider that have a price of the operator's own."""
        meant = self._stands_for.get(provider_id, provider_id)
        return [model for owner, model in self._own if owner == meant]

    def window(self, provider_id: str, model: str) -> int | None:
        """Return a model's context window when the list knows it."""
        return listed(self._providers[provider_id], model).window

    def _changes(self, provider_id: str, model: str) -> Iterable[Change]:
        provider = self._providers.get(provider_id)
        built_in: Sequence[Change] = listed(provider, model).changes if provider else (Change(0, None),)
        own = self._own.get((provider_id, model))
        if own is None:
            return built_in
        fallback = Timeline(built_in)
        moments = sorted({0, *own.moments, *(change.from_us for change in built_in)})
        return [Change(moment, own.at(moment) or fallback.at(moment)) for moment in moments]
