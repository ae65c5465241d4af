"""``mesh usage``: what was used, read from Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from mesh_plugins.cli.moments import Since, Until, moment
from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import Row, print_csv, show
from mesh_plugins.cli.sparklines import with_sparklines

_DIMENSIONS = ("team", "user", "key", "alias", "provider", "model", "minute", "hour", "day")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="team, user, key, alias, provider, model, minute, hour or day; several are fine."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    unpriced: Annotated[
        bool, typer.Option("--unpriced", help="List the models without a price, with their counts.")
    ] = False,
    sparkline: Annotated[
        bool, typer.Option("--sparkline", help="Draw the calls of each row through time.")
    ] = False,
    flush: Annotated[
        bool, typer.Option("--flush", help="First collect the facts that are still on their way.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show calls, tokens and cost; of a call that was tried three times, each failed try is an error.

    JSON and CSV count what has no price as `unpriced`, beside the cost.
    """
    from mesh_plugins.cli.control import run_async
    from mesh_plugins.usage import cell
    from mesh_store.model.errors import Rejected

    if unpriced and (by or sparkline):
        raise Rejected("--unpriced lists models; it goes with neither --by nor --sparkline", field="unpriced")
    dimensions = [word for words in by or () for word in words.replace(",", " ").split()]
    span = (moment(since), moment(until, "until"))
    rows = run_async(_report(dimensions, span, team, flush=flush, unpriced=unpriced, sparkline=sparkline))
    columns = _columns(rows, dimensions, unpriced=unpriced, sparkline=sparkline)
    if as_csv:
        print_csv(rows, columns if not rows else list(rows[0]))
    else:
        if not as_json:
            rows = [row | {name: cell(row, name) for name in columns} for row in rows]
        empty = "every model that was used has a price" if unpriced else "no usage"
        figures = [name for name in columns if name not in (*_DIMENSIONS, "trend")]
        show(rows, columns, as_json=as_json, empty=empty, right=figures)


def _columns(rows: Sequence[Row], dimensions: Sequence[str], *, unpriced: bool, sparkline: bool) -> list[str]:
    """Return what a table shows; JSON and CSV hold more."""
    from mesh_plugins.usage import SHOWN

    if unpriced:
        return ["provider", "model", "unpriced", "calls", "input_tokens", "output_tokens"]
    shadow = ["shadow_denied"] if any(row.get("shadow_denied") for row in rows) else []
    return [*dimensions, *SHOWN, *shadow, *(["trend"] if sparkline else [])]


async def _report(
    by: Sequence[Any],
    span: tuple[datetime | None, datetime | None],
    team: str | None,
    *,
    flush: bool,
    unpriced: bool,
    sparkline: bool,
) -> list[dict[str, Any]]:
    from mesh_plugins.cli.control import database, place
    from mesh_plugins.cli.flushing import collect_now
    from mesh_store.postgres.repository import Repository
    from mesh_store.postgres.usage import unpriced_models, usage_report

    async with place() as found, database(found) as opened:
        if flush and not await collect_now(found):
            typer.echo("some facts are still with another collector; ask again soon", err=True)
        team_id = None
        if team is not None:
            team_id = (await Repository(opened, actor="mesh usage").get_team(team)).id
        if unpriced:
            return await unpriced_models(opened, *span, team=team_id)
        rows = await usage_report(opened, by, *span, team=team_id)
        return await with_sparklines(opened, rows, by, span, team_id) if sparkline else rows
