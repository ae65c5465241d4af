"""Which budget alerts were told to whom, so that each is told once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from mesh_store.postgres.statements import statements

_SQL = statements("budget_alerts")


class Told(NamedTuple):
    """An alert that a recipient knows of; moments are microseconds since the epoch."""

    limit_id: str
    starts_us: int
    ends_us: int
    percent: int
    recipient: str


async def begin(connection: asyncpg.Connection) -> bool:
    """Become the only process that tells, until the transaction ends; False when another is."""
    mine: bool = await connection.fetchval(_SQL["lock"])
    if mine:
        await connection.execute(_SQL["forget"])
    return mine


async def told(connection: asyncpg.Connection) -> set[Told]:
    """Return what is known of windows that have not long ended."""
    return {Told(*row) for row in await connection.fetch(_SQL["told"])}


async def note(connection: asyncpg.Connection, rows: Sequence[Told]) -> None:
    """Remember what was told."""
    if rows:
        await connection.executemany(_SQL["note"], rows)
