"""What budgets were charged, from the stream's form to the ledger's, and what Redis is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfoNotFoundError

from mesh_store.model.limits import Limit
from mesh_store.model.windows import window_of
from mesh_store.postgres.usage_budgets import Spent
from mesh_store.postgres.usage_write import Taken
from mesh_store.telemetry.spending import Spending


class Counted(NamedTuple):
    """One window of a budget after a commit.

    Attributes:
        key: the budget's key.
        limit: as it was charged.
        starts_us: when the window began.
        spent: what the ledger holds.
        reservations: those it holds now, also when it held them before.
    """

    key: str
    limit: Limit
    starts_us: int
    spent: Spent
    reservations: list[str]


class Ledger:
    """The windows a few batches touch, collected before the commit and told to Redis after it."""

    def __init__(self) -> None:
        self.rows: list[Taken] = []
        self.refused: list[tuple[Spending, str]] = []
        self._windows: dict[tuple[str, int], tuple[Limit, list[str]]] = {}

    def add(self, spendings: Iterable[Spending], facts: set[str], oldest_us: int) -> None:
        """Add what came with ``facts``, which may be stored, and what was spent though its fact may not.

        A caller whose clock is wrong spends all the same: its budget's window is that of the reservation, by
        the server's clock. Without a fact to be counted with, money is counted once, by its reservation.

        Args:
            spendings: what was spent.
            facts: ids of those that may be stored.
            oldest_us: what was reserved before may have been counted with a fact whose day is gone.
        """
        for spending in spendings:
            told = spending.fact in facts
            if spending.fact is not None and not told and spending.reserved_at_us < oldest_us:
                continue
            try:
                self._add(spending, spending.fact if told else None)
            except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError) as error:
                self.refused.append((spending, str(error)))

    @property
    def windows(self) -> Sequence[tuple[str, int]]:
        """Keys and starts of the windows."""
        return list(self._windows)

    def counted(self, spent: Mapping[tuple[str, int], Spent]) -> list[Counted]:
        """Return what Redis has to be told."""
        return [
            Counted(key, limit, starts_us, spent[key, starts_us], reservations)
            for (key, starts_us), (limit, reservations) in self._windows.items()
            if (key, starts_us) in spent
        ]

    def _add(self, spending: Spending, fact: str | None) -> None:
        if "\0" in "".join([spending.reservation, *[charge.key for charge in spending.charges]]):
            raise ValueError("a name holds what Postgres does not take")
        windows = [(charge, window_of(charge.limit, spending.reserved_at_us)) for charge in spending.charges]
        for charge, (starts_us, ends_us) in windows:
            self.rows.append(Taken(fact, spending.reservation, charge.key, starts_us, ends_us, charge.amount))
            _, reservations = self._windows.setdefault((charge.key, starts_us), (charge.limit, []))
            reservations.append(spending.reservation)
