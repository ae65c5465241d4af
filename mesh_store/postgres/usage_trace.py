"""Calls that were, read from the facts in the order of time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mesh_store.postgres.database import Database
from mesh_store.postgres.statements import statements

#: Calls one replay reads; they are held in memory.
MOST_CALLS = 5_000_000


async def usage_trace(
    database: Database, since: datetime, until: datetime | None = None, *, team: str | None = None
) -> list[Any]:
    """Return one row a call; the columns are those of ``usage_trace.sql``."""
    async with database.connect() as connection:
        await connection.exec_driver_sql("SELECT 1")
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        rows: list[Any] = await driver.fetch(
            statements("usage_trace")["trace"], since, until, team, MOST_CALLS, timeout=600
        )
        return rows
