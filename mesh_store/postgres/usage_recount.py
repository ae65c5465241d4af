"""Counting the errors of stored sums anew, from the facts that are kept."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import text

from mesh_store.postgres.database import Database
from mesh_store.postgres.statements import statements

_SQL = statements("usage_recount")


class Recounted(NamedTuple):
    """What became of the sums.

    Attributes:
        corrected: sums whose errors were others.
        left: sums whose facts are no longer all kept; they stay as they are.
    """

    corrected: int
    left: int


async def recount(database: Database) -> Recounted:
    """Bring the errors of sums up to what counts as one now; a second time changes nothing.

    Collectors wait for as long as it takes, and lose nothing.
    """
    async with database.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = 0"))  # begins the transaction, too
        await session.execute(text("SET LOCAL lock_timeout = '30s'"))
        raw = await (await session.connection()).get_raw_connection()
        connection: Any = raw.driver_connection
        await connection.execute(_SQL["lock"])
        return Recounted(*await connection.fetchrow(_SQL["recount"], timeout=None))
