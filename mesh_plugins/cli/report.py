"""``mesh report``: what a team used in a month, to hand on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mesh_plugins.cli.printing import csv_text

report = typer.Typer(no_args_is_help=True, help="Reports to hand on.")

#: Dimensions of a CSV: its smallest rows.
_ROWS = ("day", "user", "key", "alias", "provider", "model")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(report, name="report")


@report.command("month")
def month(
    team: Annotated[str, typer.Option("--team", metavar="TEAM", help="The team that pays.")],
    which: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="This month unless said; UTC.")
    ] = None,
    form: Annotated[Literal["html", "csv"], typer.Option("--format", help="html has plots.")] = "html",
    output: Annotated[
        Path | None, typer.Option("--output", help="A file instead of standard output.")
    ] = None,
) -> None:
    """Report what a team used in a calendar month, re-pricing included."""
    from mesh_plugins.cli.control import run_async

    since, until = month_span(which, datetime.now(UTC))
    if form == "csv":
        by: tuple[tuple[str, ...], ...] = (_ROWS,)
    else:
        from mesh_plugins.cli.report_page import DIMENSIONS

        by = DIMENSIONS
    tables = run_async(_tables(team, since, until, by))
    if form == "csv":
        (rows,) = tables
        text = csv_text(rows, list(rows[0]) if rows else _ROWS)
    else:
        from mesh_plugins.cli.report_page import page

        text = page(team, since, tables)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
        typer.echo(f"{output} is written")


def month_span(text: str | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the first moment of a month and of the next.

    Args:
        text: the month as YYYY-MM; None means the one of ``now``.
        now: the time in UTC.

    Raises:
        Rejected: it is not a month.
    """
    from mesh_store.model.errors import Rejected

    try:
        first = now if text is None else datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        first = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return first, (first + timedelta(days=32)).replace(day=1)
    except (ValueError, OverflowError):
        raise Rejected(f"{text!r} is not a month; write it like 2026-01", field="month") from None


async def _tables(
    team: str, since: datetime, until: datetime, by: tuple[tuple[str, ...], ...]
) -> list[list[dict[str, Any]]]:
    from mesh_plugins.cli.control import database, place
    from mesh_store.postgres.repository import Repository
    from mesh_store.postgres.usage import usage_report

    async with place() as found, database(found) as opened:
        team_id = (await Repository(opened, actor="mesh report").get_team(team)).id
        return [
            await usage_report(opened, dimensions, since, until, team=team_id)  # type: ignore[arg-type]
            for dimensions in by
        ]
