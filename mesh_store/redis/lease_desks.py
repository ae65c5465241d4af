"""The desks of one process: found by the keys of what a call takes, and never more than a few thousand."""

from __future__ import annotations

from collections.abc import Sequence

from mesh_store.model.limits import Charge
from mesh_store.redis.lease_desk import Desk

#: How many tuples of limits are watched; the rest are asked for one by one.
MOST_DESKS = 1_024

#: How often, at the most, room is made by forgetting tuples nobody came back to, microseconds.
SWEEP_US = 1_000_000


class Desks(dict[tuple[str, ...], Desk]):
    """Desks by all keys of their tuple.

    Attributes:
        near: by the first and the last key, the desk where such charges were last looked for: a guess that
            nearly always holds, and costs a third of the whole name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.near: dict[tuple[str, str], Desk] = {}
        self._swept_us = 0

    def of(self, charges: Sequence[Charge]) -> Desk | None:
        """Return the desk of a tuple, or None."""
        desk = self.get(tuple([charge.key for charge in charges]))
        if desk is not None:
            self.near[charges[0].key, charges[-1].key] = desk
        return desk

    def open(self, charges: Sequence[Charge], now_us: int) -> None:
        """Make a desk for a tuple, if there is room."""
        if len(self) >= MOST_DESKS:
            # A crowd of tuples seen once (limits for each end user) must not keep out a hot one.
            self._forget(now_us)
        if len(self) < MOST_DESKS:
            self.setdefault(tuple([charge.key for charge in charges]), Desk(charges, now_us))

    def close(self, name: tuple[str, ...]) -> None:
        """Forget a desk."""
        del self[name]
        self.near.clear()

    def close_all(self) -> None:
        """Forget them all."""
        self.clear()
        self.near.clear()

    def _forget(self, now_us: int) -> None:
        if now_us - self._swept_us < SWEEP_US:
            return
        self._swept_us = now_us
        for name in [name for name, desk in self.items() if desk.idle(now_us, SWEEP_US)]:
            self.close(name)
