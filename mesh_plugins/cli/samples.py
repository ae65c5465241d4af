"""``mesh samples``: what calls asked and were answered, of teams that switched samples on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.moments import Since, moment
from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.printing import print_json

if TYPE_CHECKING:
    from mesh_store.model.samples import Sample


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(samples)


def samples(
    team: Team = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest content samples, the newest first (`mesh team content` switches them on)."""
    from mesh_plugins.cli.control import run_async

    rows = run_async(_look(team, moment(since), limit))
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no samples")
    for row in rows:
        say(row, row["at"])


def say(row: Mapping[str, Any], at: datetime) -> None:
    """Print a sample."""
    user = f" {row['user']}" if row.get("user") else ""
    typer.echo(f"{at.astimezone():%Y-%m-%d %H:%M:%S} {row['team']}{user} {row['alias']} {row['outcome']}")
    typer.echo(f"  > {row['request']}")
    typer.echo(f"  < {row['reply']}{' … (cut)' if row['cut'] else ''}")


async def passing_samples(client: Any) -> AsyncIterator[Sample]:
    """Yield samples as they pass; nothing is taken from the collectors."""
    from mesh_store.postgres.content_samples import decoded
    from mesh_store.redis.sample_stream import SAMPLES

    newest: Any = await client.xrevrange(SAMPLES, count=1)
    place = newest[0][0] if newest else "0-0"
    typer.echo("waiting for samples", err=True)
    while True:
        reply: Any = await client.xread({SAMPLES: place}, count=64, block=2_000)
        for _, entries in reply.items() if isinstance(reply, dict) else reply or ():
            for place, fields in entries:  # noqa: B007 - where the next read goes on
                yield decoded(fields[b"b"])


def say_passing(sample: Sample, team: str, *, as_json: bool) -> None:
    """Print a sample that passes by."""
    import msgspec

    row = msgspec.structs.asdict(sample) | {"team": team, "user": sample.user_id}
    if as_json:
        print_json(row)
    else:
        say(row, datetime.fromtimestamp(sample.at_us / 1e6, UTC))


async def _look(team: str | None, since: datetime | None, limit: int) -> list[dict[str, Any]]:
    from mesh_plugins.cli.control import database, place
    from mesh_store.postgres.content_samples import look
    from mesh_store.postgres.repository import Repository

    async with place() as found, database(found) as opened:
        team_id = None
        if team is not None:
            team_id = (await Repository(opened, actor="mesh samples").get_team(team)).id
        return await look(opened, team=team_id, since=since, limit=limit)
