"""The ledger of budgets: what was spent in which calendar window, and which budgets there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import asyncpg

from mesh_store.model.limits import Limit
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
    return [
        Budget(
            f"{{{row['tag']}}}:q:{row['id']}",
            row["tag"],
            Limit(amount=0, period_us=row["period_us"], kind="window", tz=row["tz"]),
        )
        for row in await connection.fetch(_SQL["budgets"])
    ]
