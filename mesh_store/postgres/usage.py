"""Reading what was used, from the rollups and the adjustments of re-pricing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    Integer,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from mesh_store.model.errors import ConfigError
from mesh_store.model.money import PICO
from mesh_store.postgres.database import Database
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.usage_tables import SUMS, adjustments, usage_rollups

By = Literal["team", "user", "key", "alias", "provider", "model", "minute", "day"]

#: Sums beside those of `SUMS`.
_MORE = ("cost_pico_usd", "duration_us")
_KEYS = ("team_id", "user_id", "key_id", "alias", "provider", "model")


async def usage_report(
    database: Database,
    by: Sequence[By] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    team: str | None = None,
) -> list[dict[str, Any]]:
    """Sum up usage by any dimensions.

    Args:
        database: Postgres.
        by: dimensions of the rows; none gives one row. ``team`` and ``user`` are names where the
            thing still exists, ids where it does not.
        since: first moment that counts, to the minute; None means the beginning.
        until: first moment that no longer counts, to the minute; None means now.
        team: id of the only team to count, or None.

    Returns:
        One dictionary per row, sorted by cost, then calls, the highest first: the dimensions,
        ``calls``, ``attempts``, ``denied``, ``errors``, ``cancelled``, ``lost``, ``estimated``,
        ``unpriced``, tokens of every kind, ``cost_usd`` (`Decimal`, adjustments of re-pricing included) and
        ``mean_latency_ms``.

    Raises:
        ConfigError: names a dimension that does not exist.
    """
    used = _used(by, since, until)
    source: FromClause = used
    labels: list[ColumnElement[Any]] = []
    for dimension in by:
        if dimension not in get_args(By):
            raise ConfigError(
                f"usage cannot be shown by {dimension!r}; choose from {', '.join(get_args(By))}"
            )
        column, source = _dimension(dimension, used, source)
        labels.append(column.label(dimension))
    sums = [func.coalesce(func.sum(used.c[name]), 0).label(name) for name in (*SUMS, *_MORE)]
    statement = select(*labels, *sums).select_from(source)
    if team is not None:
        statement = statement.where(used.c.team_id == team)
    if labels:
        statement = statement.group_by(*labels)
    async with database.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    shown = [_shown(dict(row)) for row in rows]
    return sorted(shown, key=lambda row: (row["cost_usd"], row["calls"]), reverse=True)


async def last_used(database: Database, key_ids: Sequence[str]) -> dict[str, datetime]:
    """Return when each key last called, to the minute; keys that never did are absent.

    Read from the rollups, so that no call writes it: it lags by what is still on its way.
    """
    r = usage_rollups.c
    statement = (
        select(r.key_id, func.max(r.starts_at))
        .where(r.grain == "minute", r.key_id.in_(list(key_ids)))
        .group_by(r.key_id)
    )
    async with database.connect() as connection:
        rows = await connection.execute(statement)
        return {row[0]: row[1] for row in rows}


def _dimension(dimension: By, used: Subquery, source: FromClause) -> tuple[ColumnElement[Any], FromClause]:
    """Return the column that shows a dimension, and the source with what it needs joined."""
    r = used.c
    match dimension:
        case "team":
            joined = source.outerjoin(TeamRow, cast(TeamRow.id, Text) == r.team_id)
            return func.coalesce(TeamRow.name, r.team_id), joined
        case "user":
            joined = source.outerjoin(UserRow, cast(UserRow.id, Text) == r.user_id)
            return func.coalesce(UserRow.name, func.nullif(r.user_id, "")), joined
        case "key":
            return r.key_id, source
        case "alias":
            return r.alias, source
        case "provider":
            return func.nullif(r.provider, ""), source
        case "model":
            return func.nullif(r.model, ""), source
        case "minute" | "day":
            return func.date_trunc(literal(dimension, literal_execute=True), r.starts_at, "UTC"), source


def _used(by: Sequence[By], since: datetime | None, until: datetime | None) -> Subquery:
    """Return the rollups of a span, at the coarsest grain that is exact for it, and its adjustments."""
    daily = "minute" not in by and all(_is_midnight(moment) for moment in (since, until))
    r, a = usage_rollups.c, adjustments.c
    in_rollups: ColumnElement[bool] = r.grain == ("day" if daily else "minute")
    in_adjustments: ColumnElement[bool] = literal(True)
    if since is not None:
        in_rollups, in_adjustments = (
            in_rollups & (r.starts_at >= since),
            in_adjustments & (a.started_at >= since),
        )
    if until is not None:
        in_rollups, in_adjustments = (
            in_rollups & (r.starts_at < until),
            in_adjustments & (a.started_at < until),
        )
    rolled = select(r.starts_at, *[r[name] for name in _KEYS], *[r[name] for name in (*SUMS, *_MORE)]).where(
        in_rollups
    )
    # A fact that had no price and was given one is no longer counted as unpriced.
    given = case((a.priced, -1), else_=0)
    changed = {"cost_pico_usd": a.cost_pico_usd, "unpriced": given}
    adjusted = select(
        a.started_at,
        *[a[name] for name in _KEYS],
        *[changed.get(name, literal(0, Integer)).label(name) for name in (*SUMS, *_MORE)],
    ).where(in_adjustments)
    return union_all(rolled, adjusted).subquery("used")


def _is_midnight(moment: datetime | None) -> bool:
    if moment is None:
        return True
    utc = moment.astimezone(UTC)
    return (
        timedelta(hours=utc.hour, minutes=utc.minute, seconds=utc.second, microseconds=utc.microsecond)
        == timedelta()
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    duration, attempts = int(row.pop("duration_us")), int(row["attempts"])
    for name in SUMS:
        row[name] = int(row[name])
    row["cost_usd"] = Decimal(row.pop("cost_pico_usd")) / PICO
    row["mean_latency_ms"] = round(duration / attempts / 1000, 3) if attempts else None
    return row


async def unpriced_models(
    database: Database,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    team: str | None = None,
) -> list[dict[str, Any]]:
    """List the models that were used without a price: ``provider``, ``model``, ``unpriced`` and ``calls``.

    Arguments as for `usage_report`; ``calls`` counts all calls of the model.
    """
    rows = await usage_report(database, ("provider", "model"), since, until, team=team)
    names = ("provider", "model", "unpriced", "calls", "input_tokens", "output_tokens")
    found = [{name: row[name] for name in names} for row in rows if row["unpriced"] > 0]
    return sorted(found, key=lambda row: int(row["unpriced"]), reverse=True)
