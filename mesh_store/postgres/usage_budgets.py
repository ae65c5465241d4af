"""The ledger of budgets: what was spent in which calendar window, and which budgets there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from mesh_store.model.limits import Limit
from mesh_store.model.money import pico_usd
from mesh_store.postgres.statements import statements

_SQL = statements("usage_budgets")


class Spent(NamedTuple):
    """What the ledger holds of one window; pico-USD, and the version of that sum."""

    pico_usd: int
    version: int


class Budget(NamedTuple):
    """A budget as callers charge it.

    Attributes:
        key: the Redis key of its state.
        tag: the hash tag in it.
        limit: its windows; the amount is not known here.
        apart: True when it counts for each end user, or each value of a tag, by itself: under its key
            followed by the value's hash.
    """

    key: str
    tag: str
    limit: Limit
    apart: bool = False


class ApartWindow(NamedTuple):
    """One window of a budget on each end user or value, as the ledger holds it."""

    key: str
    limit: Limit
    starts_us: int
    spent: Spent


class BudgetState(NamedTuple):
    """A budget as people look at it.

    Attributes:
        budget: as callers charge it.
        id: the limit's id.
        label: whose it is, such as ``team research``.
        cap_pico_usd: how much it is.
    """

    budget: Budget
    id: str
    label: str
    cap_pico_usd: int


async def windows(
    connection: asyncpg.Connection, asked: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], Spent]:
    """Return what was spent, by key and start of the window in microseconds; unknown ones are missing."""
    pairs = sorted(set(asked))
    rows = await connection.fetch(
        _SQL["windows"], [key for key, _ in pairs], [starts_us for _, starts_us in pairs]
    )
    return {(row["key"], row["starts_us"]): Spent(int(row["spent_pico_usd"]), row["version"]) for row in rows}


async def budgets(connection: asyncpg.Connection) -> list[Budget]:
    """Return every budget that is in force."""
    return [budget_of(row) for row in await connection.fetch(_SQL["budgets"])]


async def apart(connection: asyncpg.Connection, tags: Sequence[str]) -> list[ApartWindow]:
    """Return the present windows under hash tags of budgets that count for each value by itself."""
    return [
        ApartWindow(
            row["key"],
            _windows_of(row),
            row["starts_us"],
            Spent(int(row["spent_pico_usd"]), row["version"]),
        )
        for row in await connection.fetch(_SQL["apart"], list(tags))
    ]


async def states(connection: asyncpg.Connection) -> list[BudgetState]:
    """Return every budget that is in force with its amount and whose it is, value by value ones aside."""
    return [
        BudgetState(budget_of(row), row["id"], _label(row), pico_usd(row["amount"]))
        for row in await connection.fetch(_SQL["budgets"])
        if not row["apart"]
    ]


def budget_of(row: Any) -> Budget:
    """Return the budget that a row of the statement ``budgets`` is."""
    return Budget(f"{{{row['tag']}}}:q:{row['id']}", row["tag"], _windows_of(row), row["apart"])


def _windows_of(row: Any) -> Limit:
    return Limit(amount=0, period_us=row["period_us"], kind="window", tz=row["tz"])


def _label(row: Any) -> str:
    words = [f"{name} {row[name]}" for name in ("team", "user", "key", "alias", "provider") if row[name]]
    words += [f"end user {row['end_user']}"] if row["end_user"] else []
    words += [f"tag {row['caller_tag']}"] if row["caller_tag"] else []
    return ", ".join(words) or "everybody"
