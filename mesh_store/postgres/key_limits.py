"""Limits on keys, as callers find them in a key's entry."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mesh_store.model.labels import MOST_APART
from mesh_store.model.snapshot import KeyEntry, KeyLimit
from mesh_store.postgres.database import Database
from mesh_store.postgres.frozen import frozen
from mesh_store.postgres.limit_subjects import label_of_row, subject_of
from mesh_store.postgres.repository.limit_values import terms_of
from mesh_store.postgres.statements import statements


async def limits_of_key(database: Database, key_id: str) -> tuple[KeyLimit, ...]:
    """Return the limits on a key, as its entry holds them."""
    async with frozen(database) as connection:
        return tuple((await key_limits(connection, {key_id}))[key_id])


async def key_limits(connection: Any, key_ids: set[str]) -> dict[str, list[KeyLimit]]:
    """Return the limits on keys, by key, as asyncpg's ``connection`` sees them in its transaction."""
    limits: dict[str, list[KeyLimit]] = defaultdict(list)
    for row in await connection.fetch(statements("keys")["limits"], list(key_ids)):
        limit = KeyLimit(
            id=row["id"],
            subject=subject_of(row),
            terms=terms_of(row),
            label=label_of_row(row),
            enforce=row["enforce"],
            on_exhausted=row["on_exhausted"],
            distinct=row["distinct_values"] or MOST_APART,
        )
        limits[row["key_id"]].append(limit)
    return limits


async def limited_keys(database: Database, most: int) -> tuple[KeyEntry, ...]:
    """Return live keys that have limits of their own, without their secrets.

    Args:
        database: where they are kept.
        most: how many at most; those that changed last come first.
    """
    async with frozen(database) as connection:
        rows = await connection.fetch(statements("keys")["limited"], most)
        limits = await key_limits(connection, {row["id"] for row in rows})
    return tuple(
        KeyEntry(
            id=row["id"],
            team=row["team_id"],
            user=row["user_id"],
            aliases=None if row["aliases"] is None else tuple(row["aliases"]),
            limits=tuple(limits[row["id"]]),
        )
        for row in rows
    )
