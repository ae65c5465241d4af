"""Prices of models that nobody named: what a target with a ``*`` may be asked for."""

from __future__ import annotations

import re

import msgspec

from mesh_store.model.usage import Rates

#: A date at the end of a model's name, as vendors write it.
_DATE = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$", re.ASCII)


class PassedPrices(msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """Prices of the models that a target with a ``*`` may be asked for.

    Attributes:
        id: ``<provider id>/<the target's model>``.
        models: rates by model.
        stems: those models whose rates hold with a date behind their name, too.
    """

    id: str
    models: dict[str, Rates]
    stems: tuple[str, ...] = ()

    def of(self, model: str) -> Rates | None:
        """Return the rates of a model, or None when it has no price here."""
        lower = model.lower()
        found = self.models.get(model) or self.models.get(lower)
        if found is not None or (dated := _DATE.search(lower)) is None:
            return found
        stem = lower[: dated.start()]
        return self.models.get(stem) if stem in self.stems else None
