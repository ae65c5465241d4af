"""Writing facts so that each counts once, in the rows and in the rollups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from mesh_store.model.facts import Fact
from mesh_store.postgres.copying import copy
from mesh_store.postgres.statements import statements

#: The fields of a fact that have a column; a field appended later needs a migration first.
COLUMNS = Fact.__struct_fields__
_TAGS = COLUMNS.index("tags")
_SQL = statements("usage_write")
_json = msgspec.json.Encoder().encode

#: What Postgres says, or asyncpg on its behalf, when a row can never be stored.
REFUSALS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,  # asyncpg's own encoders, while copying
    ValueError,
)


class Dead(NamedTuple):
    """Something that could not be taken.

    Attributes:
        reason: one word for counting: ``undecodable``, ``refused``, ``too_old``, ``too_new``, ….
        detail: what exactly was wrong.
        ring: where it came from.
        body: the bytes as they came.
    """

    reason: str
    detail: str
    ring: str
    body: bytes


class Taken(NamedTuple):
    """What one call takes from one budget's window: a row of the staging table."""

    fact_id: str | None
    reservation_id: str
    key: str
    starts_us: int
    ends_us: int
    amount: int


async def prepare(connection: asyncpg.Connection) -> None:
    """Make the staging tables; once per connection."""
    await connection.execute(_SQL["staging"])
    await connection.execute(_SQL["spending_staging"])


async def stage_money(connection: asyncpg.Connection, money: Sequence[Taken]) -> None:
    """Put in place what `write` adds to the ledger, for the facts it finds to be new."""
    if money:
        await copy(connection, "spending_staging", money, Taken._fields)


async def write(connection: asyncpg.Connection, facts: Sequence[Fact]) -> int:
    """Store facts and add the new ones to the rollups; return how many were new.

    Runs in the caller's transaction, or savepoint: `REFUSALS` leave nothing behind.
    """
    async with connection.transaction():
        await copy(connection, "usage_staging", [_row(fact) for fact in facts], COLUMNS)
        new: int = await connection.fetchval(_SQL["fold"])
        return new


async def forsake(connection: asyncpg.Connection, facts: Sequence[str]) -> None:
    """Count the staged money of facts that are refused without them."""
    await connection.execute(_SQL["forsake"], facts)
    await write(connection, ())


async def bury(connection: asyncpg.Connection, dead: Sequence[Dead]) -> None:
    """Keep what could not be taken."""
    await connection.execute(
        _SQL["bury"],
        [hashlib.sha256(one.body).digest() for one in dead],
        [one.reason for one in dead],
        [one.detail.replace("\0", "")[:1000] for one in dead],
        [one.ring for one in dead],
        [one.body for one in dead],
    )


async def buried(connection: asyncpg.Connection, reason: str) -> list[tuple[bytes, bytes]]:
    """Return digest and body of what was buried for a reason."""
    return [(row["digest"], row["body"]) for row in await connection.fetch(_SQL["parked"], reason)]


async def unbury(connection: asyncpg.Connection, digest: bytes) -> None:
    """Take something back out."""
    await connection.execute(_SQL["unbury"], digest)


async def teams_of_keys(connection: asyncpg.Connection, keys: Sequence[str]) -> dict[str, str]:
    """Return the teams of the keys that exist."""
    return {row["id"]: row["team_id"] for row in await connection.fetch(_SQL["teams_of_keys"], keys)}


def _row(fact: Fact) -> list[Any]:
    row = list(msgspec.structs.astuple(fact))
    row[_TAGS] = _json(fact.tags).decode()
    return row
