"""The rows that answer for a span: as few as are exact, of facts and of re-pricing alike.

``usage_between`` (a function in Postgres) reads whole days, the hours at both ends that make no whole
day and the minutes that make no whole hour; ``usage_of_teams_between`` likewise, from days and hours that
do not tell users and keys apart. Retention drops minutes first, then hours: a bound that lies
before what is kept is moved back to the hour or the day, the same way for whoever asks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import DateTime, Text, cast, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import BigInteger, Numeric

from mesh_store.postgres.usage_tables import SUMS, usage_rollups

Grain = Literal["minute", "hour", "day"]

_COLUMNS: list[Any] = [
    column("grain", Text),
    column("starts_at", DateTime(timezone=True)),
    *[column(name, Text) for name in ("team_id", "user_id", "key_id", "alias", "provider", "model")],
    *[column(name, BigInteger) for name in SUMS],
    column("cost_pico_usd", Numeric),
    column("duration_us", BigInteger),
    column("latency", ARRAY(BigInteger)),
    column("ttft", ARRAY(BigInteger)),
    column("last_at", DateTime(timezone=True)),
]


class Kept(NamedTuple):
    """The first day of which there are sums per minute and per hour; None where there are none at all."""

    minutes: datetime | None
    hours: datetime | None


async def kept(connection: AsyncConnection) -> Kept:
    """Ask what is kept; two looks at the end of an index."""
    r = usage_rollups.c
    first = [
        select(func.date_trunc("day", func.min(r.starts_at), "UTC")).where(r.grain == grain).scalar_subquery()
        for grain in ("minute", "hour")
    ]
    return Kept(*(await connection.execute(select(*first))).one())


def between(
    kept: Kept, since: datetime | None, until: datetime | None, coarsest: Grain, *, apart: bool = True
) -> TableValuedAlias:
    """Return the rows of a span, as a source to select from.

    Args:
        kept: what is kept of it.
        since: the first moment, or None.
        until: the first moment that no longer counts, or None.
        coarsest: of which grain rows may be at most: whoever groups by hours cannot use days.
        apart: whether users and keys are told apart; there are far fewer rows where they are not.
    """
    bounds = [cast(_moved(moment, kept), DateTime(timezone=True)) for moment in (since, until)]
    reader = func.usage_between if apart else func.usage_of_teams_between
    return reader(*bounds, coarsest).table_valued(*_COLUMNS, name="used")


def _moved(moment: datetime | None, kept: Kept) -> datetime | None:
    if moment is None:
        return None
    moment = moment.astimezone(UTC).replace(second=0, microsecond=0)
    if kept.hours is None or moment < kept.hours:
        return moment.replace(hour=0, minute=0)
    if kept.minutes is None or moment < kept.minutes:
        return moment.replace(minute=0)
    return moment
