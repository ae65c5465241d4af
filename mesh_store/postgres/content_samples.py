"""Content samples in Postgres: kept for as many days as their team says, and of no team that says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import Text, cast, func, select

from mesh_store.model.samples import Sample
from mesh_store.postgres.database import Database
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.sample_tables import content_samples
from mesh_store.postgres.statements import statements

_SQL = statements("content_samples")
_FIELDS = tuple(name for name in Sample.__struct_fields__ if name != "version")


async def keep(connection: asyncpg.Connection, samples: Sequence[Sample]) -> int:
    """Store samples of teams whose samples are on now; return how many were new."""
    columns = zip(*[_row(sample) for sample in samples], strict=True)
    return len(await connection.fetch(_SQL["keep"], *[list(column) for column in columns]))


async def prune(connection: asyncpg.Connection) -> int:
    """Delete what is older than its team says; return how many."""
    return len(await connection.fetch(_SQL["prune"]))


async def look(
    database: Database, *, team: str | None = None, since: datetime | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """Return the newest samples, the newest first.

    Args:
        database: Postgres.
        team: id of the only team, or None for all.
        since: the first moment, or None.
        limit: how many at most.
    """
    s = content_samples.c
    statement = (
        select(
            *[s.at, s.fact_id, s.call_id, func.coalesce(TeamRow.name, s.team_id).label("team")],
            *[func.coalesce(UserRow.name, s.user_id).label("user"), s.key_id.label("key")],
            *[s.alias, s.model, s.outcome, s.request, s.reply, s.cut],
        )
        .outerjoin(TeamRow, cast(TeamRow.id, Text) == s.team_id)
        .outerjoin(UserRow, cast(UserRow.id, Text) == s.user_id)
        .order_by(s.at.desc())
        .limit(limit)
    )
    if team is not None:
        statement = statement.where(s.team_id == team)
    if since is not None:
        statement = statement.where(s.at >= since)
    async with database.connect() as connection:
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


def _row(sample: Sample) -> list[Any]:
    # Postgres keeps no NUL in text.
    return [
        value.replace("\0", "") if isinstance(value, str) else value
        for value in (getattr(sample, name) for name in _FIELDS)
    ]


def decoded(body: bytes) -> Sample:
    """Read a sample as it travels.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return msgspec.msgpack.decode(body, type=Sample)
