"""``mesh tail``: calls as they end, from the stream of facts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh_plugins.cli.options import AsJson, Team
from mesh_plugins.cli.samples import passing_samples, say_passing

if TYPE_CHECKING:
    from mesh_store.model.facts import Fact


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tail)


def tail(
    team: Team = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only calls that did not end well.")] = False,
    count: Annotated[int, typer.Option("--count", help="End after so many calls; 0 means never.")] = 0,
    content: Annotated[
        bool, typer.Option("--content", help="What they asked and were answered, where samples are on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print calls as they end, one line each, until Ctrl-C; nothing is taken from the collectors.

    It shows what passes by, which is everything while it keeps up; `mesh usage` counts.
    """
    from mesh_plugins.cli.control import run_async

    run_async(_tail(team, errors=errors, count=count, content=content, as_json=as_json))


async def _tail(team: str | None, *, errors: bool, count: int, content: bool, as_json: bool) -> None:
    from mesh_plugins.cli.control import database, place
    from mesh_store.redis import connect_async
    from mesh_store.telemetry.passing import newest, passing

    async with place() as found, database(found) as opened:
        names = await _team_names(opened)
        wanted = None if team is None else await _team_id(opened, team)
        client: Any = connect_async(found.telemetry_redis_url, deadline=10.0, connect_deadline=2.0)
        try:
            passed: AsyncIterator[Any]
            say: Any = say_passing
            if content:
                passed = passing_samples(client)
            else:
                places = await newest(client)
                typer.echo("waiting for calls", err=True)
                passed, say = passing(client, places), _say
            printed = 0
            async for one in _chosen(passed, wanted, errors=errors):
                say(one, names.get(one.team_id, one.team_id), as_json=as_json)
                printed += 1
                if printed == count:
                    return
        finally:
            await client.aclose()


async def _chosen(facts: AsyncIterator[Any], team: str | None, *, errors: bool) -> AsyncIterator[Any]:
    async for fact in facts:
        if team in (None, fact.team_id) and not (errors and fact.outcome == "ok"):
            yield fact


def _say(fact: Fact, team: str, *, as_json: bool) -> None:
    import json

    import msgspec

    from mesh_store.model.money import format_usd

    if as_json:
        typer.echo(json.dumps(msgspec.structs.asdict(fact) | {"team": team}, ensure_ascii=False))
        return
    at = datetime.fromtimestamp((fact.started_at_us + fact.duration_us) / 1e6, UTC).astimezone()
    where = f"{fact.provider}/{fact.request_model}" if fact.provider else "-"
    tokens = f"{fact.input_tokens:,} in {fact.output_tokens:,} out{'~' if fact.estimated else ''}"
    how = fact.outcome if fact.error_type is None else f"{fact.outcome} {fact.error_type}"
    cost = "-" if fact.outcome == "denied" else format_usd(fact.cost_pico_usd)
    took = f"{fact.duration_us / 1000:,.0f} ms"
    typer.echo(f"{at:%H:%M:%S.%f} {team} {fact.alias} {where} {how} {tokens} {cost} {took}")


async def _team_names(opened: Any) -> dict[str, str]:
    from mesh_store.postgres.repository import Repository

    repo, names, after = Repository(opened, actor="mesh tail"), {}, None
    while True:
        page = await repo.list_teams(after=after, limit=1000, archived=True)
        names.update({team.id: team.name for team in page.items})
        after = page.next
        if after is None:
            return names


async def _team_id(opened: Any, name: str) -> str:
    from mesh_store.postgres.repository import Repository

    return (await Repository(opened, actor="mesh tail").get_team(name)).id
