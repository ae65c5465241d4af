"""``mesh usage``: what was used, read from Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import show

#: What a table shows after the dimensions; JSON holds more.
COLUMNS = ("calls", "errors", "denied", "input_tokens", "output_tokens", "cost_usd", "mean_latency_ms")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="team, user, key, alias, provider, model, minute or day; several are fine."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="A duration such as 24h, or a date such as 2026-01-31."),
    ] = None,
    team: Team = None,
    flush: Annotated[
        bool, typer.Option("--flush", help="First collect the facts that are still on their way.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show calls, tokens and cost."""
    from mesh_plugins.cli.control import run_async

    dimensions = [word for words in by or () for word in words.replace(",", " ").split()]
    rows = run_async(_report(dimensions, moment(since), team, flush))
    show(rows, [*dimensions, *COLUMNS], as_json=as_json, empty="no usage")


def moment(text: str | None) -> datetime | None:
    """Return the moment that ``24h`` (ago), a date or a time means.

    Raises:
        Rejected: it can be read as neither.
    """
    from mesh_store.model.errors import Rejected
    from mesh_store.model.limit_text import parse_period_us

    if text is None:
        return None
    try:
        return datetime.now(UTC) - timedelta(microseconds=parse_period_us(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"{text!r} is neither a duration such as 24h nor a date", field="since") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _report(
    by: Sequence[Any], since: datetime | None, team: str | None, flush: bool
) -> list[dict[str, Any]]:
    from mesh_plugins.cli.control import database, place
    from mesh_plugins.cli.flushing import collect_now
    from mesh_store.postgres.repository import Repository
    from mesh_store.postgres.usage import usage_report

    async with place() as found, database(found) as opened:
        if flush and not await collect_now(found):
            typer.echo("some facts are still with another collector; ask again soon", err=True)
        team_id = None
        if team is not None:
            team_id = (await Repository(opened, actor="mesh usage").get_team(team)).id
        return await usage_report(opened, by, since, team=team_id)
