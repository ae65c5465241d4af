"""Budgets that no caller has heard of: nothing can have been charged to them, whatever Redis lost.

Redis cannot tell a budget that was just made from one whose window it lost, so it refuses both until
somebody who reads the ledger said more. Postgres can: a publisher opens a budget in Redis, writes down
here that it did, and only then tells callers of it. What was opened before is left to the collector.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from mesh_store.postgres import usage_budgets
from mesh_store.postgres.database import Database
from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage_budgets import Budget


class Unopened(NamedTuple):
    """A budget that callers are about to hear of.

    Attributes:
        budget: as they will charge it.
        first: True when none was ever opened under its hash tag.
    """

    budget: Budget
    first: bool


@asynccontextmanager
async def opening(database: Database) -> AsyncIterator[Sequence[Unopened]]:
    """Yield the budgets to open, and write down that they are, unless the context is left by an error.

    One publisher at a time: another one waits until this one's word is committed.
    """
    async with database.begin() as session:
        raw = await (await session.connection()).get_raw_connection()
        connection = raw.driver_connection
        assert connection is not None
        sql = statements("opened_budgets")
        # SQLAlchemy's transaction begins with the first statement that is sent through it.
        await (await session.connection()).exec_driver_sql(sql["lock"])
        unopened = sql["unopened"].format(budgets=statements("usage_budgets")["budgets"])
        rows = await connection.fetch(unopened)
        yield [Unopened(usage_budgets.budget_of(row), row["first"]) for row in rows]
        if rows:
            await connection.execute(sql["opened"], [row["tag"] for row in rows], [row["id"] for row in rows])
