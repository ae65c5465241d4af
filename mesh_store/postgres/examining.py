"""What `mesh doctor` asks Postgres: its version, its clock, and what has been waiting for how long."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text

from mesh_store.postgres.database import Database


class Vitals(NamedTuple):
    """How a server is.

    Attributes:
        version: as it calls itself.
        clock: its wall clock at the moment of asking.
    """

    version: str
    clock: datetime


async def vitals(database: Database) -> Vitals:
    """Ask a server how it is."""
    query = text("SELECT current_setting('server_version'), clock_timestamp()")
    async with database.connect() as connection:
        version, clock = (await connection.execute(query)).one()
    return Vitals(version, clock)


async def waiting_since(database: Database, revision: int) -> datetime | None:
    """Return when the first change after ``revision`` was made, or None when there is none."""
    query = text("SELECT min(at) FROM changes WHERE stream = 'config' AND revision > :revision")
    async with database.connect() as connection:
        found: datetime | None = (await connection.execute(query, {"revision": revision})).scalar()
    return found


async def untold_money(database: Database) -> tuple[int, int]:
    """Return how many windows of the last week count money without a fact, and the most in one (pico-USD)."""
    query = text(
        "SELECT count(*), coalesce(max(untold_pico_usd), 0) FROM budget_windows"
        " WHERE untold_pico_usd > 0 AND ends_at > now() - interval '7 days'"
    )
    async with database.connect() as connection:
        windows, most = (await connection.execute(query)).one()
    return windows, int(most)


async def dead_letters(database: Database) -> dict[str, int]:
    """Count what the collectors of the last week could not store, by reason."""
    query = text(
        "SELECT reason, count(*) AS letters FROM telemetry_dead"
        " WHERE at > now() - interval '7 days' GROUP BY reason"
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
    return {row.reason: row.letters for row in rows}
