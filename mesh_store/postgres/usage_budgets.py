"""The ledger of budgets: what was spent in which calendar window, and which budgets there are."""

from __future__ import annotations

from collections.abc import Iterable
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
    """

    key: str
    tag: str
    limit: Limit


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
    return [_budget(row) for row in await connection.fetch(_SQL["budgets"])]


async def states(connection: asyncpg.Connection) -> list[BudgetState]:
    """Return every budget that is in force with its amount and whose it is."""
    return [
        BudgetState(_budget(row), row["id"], _label(row), pico_usd(row["amount"]))
        for row in await connection.fetch(_SQL["budgets"])
    ]


def _budget(row: Any) -> Budget:
    limit = Limit(amount=0, period_us=row["period_us"], kind="window", tz=row["tz"])
    return Budget(f"{{{row['tag']}}}:q:{row['id']}", row["tag"], limit)


def _label(row: Any) -> str:
    words = [f"{name} {row[name]}" for name in ("team", "user", "key", "alias", "provider") if row[name]]
    return ", ".join(words) or "everybody"
