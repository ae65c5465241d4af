"""Reading what was used, from the rollups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Text, cast, func, literal, select
from sqlalchemy.sql.selectable import FromClause

from mesh_store.model.errors import ConfigError
from mesh_store.model.money import PICO
from mesh_store.postgres.database import Database
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.usage_tables import SUMS, usage_rollups

By = Literal["team", "user", "key", "alias", "provider", "model", "minute", "day"]

_r = usage_rollups.c


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
        ``unpriced``, tokens of every kind, ``cost_usd`` (`Decimal`) and ``mean_latency_ms``.

    Raises:
        ConfigError: names a dimension that does not exist.
    """
    source: FromClause = usage_rollups
    labels: list[ColumnElement[Any]] = []
    for dimension in by:
        if dimension not in get_args(By):
            raise ConfigError(
                f"usage cannot be shown by {dimension!r}; choose from {', '.join(get_args(By))}"
            )
        column, source = _dimension(dimension, source)
        labels.append(column.label(dimension))
    sums = [func.coalesce(func.sum(_r[name]), 0).label(name) for name in SUMS]
    cost = func.coalesce(func.sum(_r.cost_pico_usd), 0).label("cost_pico_usd")
    duration = func.coalesce(func.sum(_r.duration_us), 0).label("duration_us")
    statement = select(*labels, *sums, cost, duration).select_from(source).where(_span(by, since, until))
    if team is not None:
        statement = statement.where(_r.team_id == team)
    if labels:
        statement = statement.group_by(*labels)
    async with database.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    shown = [_shown(dict(row)) for row in rows]
    return sorted(shown, key=lambda row: (row["cost_usd"], row["calls"]), reverse=True)


def _dimension(dimension: By, source: FromClause) -> tuple[ColumnElement[Any], FromClause]:
    """Return the column that shows a dimension, and the source with what it needs joined."""
    match dimension:
        case "team":
            joined = source.outerjoin(TeamRow, cast(TeamRow.id, Text) == _r.team_id)
            return func.coalesce(TeamRow.name, _r.team_id), joined
        case "user":
            joined = source.outerjoin(UserRow, cast(UserRow.id, Text) == _r.user_id)
            return func.coalesce(UserRow.name, func.nullif(_r.user_id, "")), joined
        case "key":
            return _r.key_id, source
        case "alias":
            return _r.alias, source
        case "provider":
            return func.nullif(_r.provider, ""), source
        case "model":
            return func.nullif(_r.model, ""), source
        case "minute" | "day":
            return func.date_trunc(literal(dimension, literal_execute=True), _r.starts_at, "UTC"), source


def _span(by: Sequence[By], since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """Choose the coarsest grain that is exact for the question."""
    daily = "minute" not in by and all(_is_midnight(moment) for moment in (since, until))
    chosen = _r.grain == ("day" if daily else "minute")
    if since is not None:
        chosen &= _r.starts_at >= since
    if until is not None:
        chosen &= _r.starts_at < until
    return chosen


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
