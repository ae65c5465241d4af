"""What tokens cost: integer arithmetic on the rate card that came with the snapshot."""

from __future__ import annotations

from mesh_plugins.markers import hookimpl
from mesh_store.model.snapshot import Snapshot, Target
from mesh_store.model.usage import Usage


class Pricing:
    """Prices from the snapshot; an unknown model has no price, which is not the same as free."""

    @hookimpl(trylast=True)
    def mesh_price(self, target: Target, usage: Usage, snapshot: Snapshot, at_us: int) -> int | None:
        """Return pico-USD, or None when the rate card does not know the target."""
        rates = snapshot.rates(target)
        return None if rates is None else rates.cost(usage, at_us)
