"""Reading what was used, from the rollups and the adjustments of re-pricing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, Text, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import FromClause

from mesh_store.model.errors import ConfigError
from mesh_store.model.money import PICO
from mesh_store.postgres import usage_latency, usage_source
from mesh_store.postgres.database import Database
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.usage_source import Grain
from mesh_store.postgres.usage_tables import SUMS, usage_rollups

By = Literal["team", "user", "key", "alias", "provider", "model", "minute", "hour", "day"]

#: Sums beside those of `SUMS`.
_MORE = ("cost_pico_usd", "duration_us")
_ROOM = text("SET LOCAL work_mem = '64MB'")
_GRAINS: tuple[Grain, ...] = ("minute", "hour", "day")


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
        since: first moment that counts, to the minute; None means the beginning. Where sums per minute
            or hour are no longer kept, it is moved back to the hour or day.
        until: first moment that no longer counts, likewise; None means now.
        team: id of the only team to count, or None.

    Returns:
        One dictionary per row, sorted by time where that is a dimension, then by cost and calls, the highest
        first: the dimensions,
        ``calls``, ``attempts``, ``denied``, ``errors``, ``cancelled``, ``lost``, ``estimated``,
        ``unpriced``, ``shadow_denied``, tokens of every kind,
        ``cost_usd`` (`Decimal`, adjustments of re-pricing included),
        ``mean_latency_ms``, and percentiles of latency and of the time to the first token
        (`mesh_store.postgres.usage_latency.PERCENTILES`).

    Raises:
        ConfigError: names a dimension that does not exist.
    """
    _check(by)
    coarsest: Grain = next((grain for grain in _GRAINS if grain in by), "day")
    async with database.connect() as connection:
        # Rows of sums are wide: sorting some tens of thousands on disk takes longer than reading them.
        await connection.execute(_ROOM)
        kept = await usage_source.kept(connection)
        apart = "user" in by or "key" in by
        used = usage_source.between(kept, since, until, coarsest, apart=apart)
        rows = (await connection.execute(_statement(used, by, team))).mappings().all()
    shown = [_shown(dict(row)) for row in rows]
    shown.sort(key=lambda row: (row["cost_usd"], row["calls"]), reverse=True)
    moments = [name for name in by if name in _GRAINS]
    return sorted(shown, key=lambda row: [row[name] for name in moments])


def _check(by: Sequence[str]) -> None:
    for dimension in by:
        if dimension not in get_args(By):
            raise ConfigError(
                f"usage cannot be shown by {dimension!r}; choose from {', '.join(get_args(By))}"
            )


async def last_used(database: Database, key_ids: Sequence[str]) -> dict[str, datetime]:
    """Return when each key last called; keys that never did are absent.

    Read from the rollups, so that no call writes it: it lags by what is still on its way.
    """
    r = usage_rollups.c
    asked = func.unnest(cast(list(key_ids), ARRAY(Text))).table_valued("id").render_derived("asked")
    day = r.grain == literal("day", literal_execute=True)  # as the index has it
    newest = (
        select(func.max(r.starts_at)).where(day, r.key_id == asked.c.id).correlate(asked).scalar_subquery()
    )
    statement = (
        select(asked.c.id, func.max(r.last_at))
        .join(usage_rollups, day & (r.key_id == asked.c.id) & (r.starts_at == newest))
        .group_by(asked.c.id)
    )
    async with database.connect() as connection:
        rows = await connection.execute(statement)
        return {row[0]: row[1] for row in rows}


def _statement(used: FromClause, by: Sequence[By], team: str | None) -> Select[Any]:
    source: FromClause = used
    labels: list[ColumnElement[Any]] = []
    for dimension in by:
        column, source = _dimension(dimension, used, source)
        labels.append(column.label(dimension))
    sums = [func.coalesce(func.sum(used.c[name]), 0).label(name) for name in (*SUMS, *_MORE)]
    statement = select(*labels, *sums, *usage_latency.sums(used)).select_from(source)
    if team is not None:
        statement = statement.where(used.c.team_id == team)
    return statement.group_by(*labels) if labels else statement


def _dimension(dimension: By, used: FromClause, source: FromClause) -> tuple[ColumnElement[Any], FromClause]:
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
        case "minute" | "hour" | "day":
            return func.date_trunc(literal(dimension, literal_execute=True), r.starts_at, "UTC"), source


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    percentiles = usage_latency.take_percentiles(row)
    duration, attempts = int(row.pop("duration_us")), int(row["attempts"])
    for name in SUMS:
        row[name] = int(row[name])
    row["cost_usd"] = Decimal(row.pop("cost_pico_usd")) / PICO
    row["mean_latency_ms"] = round(duration / attempts / 1000, 3) if attempts else None
    return row | percentiles


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
