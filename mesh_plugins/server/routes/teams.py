"""Teams. A team's admin sees its own, and may change how it is described, not what it is called."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from mesh_plugins.server.bodies import TeamChange, said
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Lists, Name, PageOf, page, revision, tagged
from mesh_store.model.entities import Page, TeamEntity, TeamSpec
from mesh_store.model.errors import AccessDenied

router = APIRouter(prefix="/teams", tags=["teams"])


@router.get("")
async def list_teams(at: At, query: Lists) -> PageOf[TeamEntity]:
    """List the teams by name."""
    if at.bearer.team is None:
        return page(await at.repo.list_teams(**dict(query)))
    async with at.looking() as repo:
        own = await repo.get_team(at.bearer.team)
    return page(Page((own,) if query.after is None else ()))


@router.post("", status_code=201)
async def create_team(at: At, body: TeamSpec, response: Response) -> TeamEntity:
    """Create a team."""
    return tagged(response, await at.admin().create_team(**dict(body)))


@router.get("/{team}")
async def read_team(at: At, team: Name, response: Response) -> TeamEntity:
    """Read a team."""
    at.see_team(team)
    async with at.looking() as repo:
        return tagged(response, await repo.get_team(team))


@router.patch("/{team}")
async def update_team(
    at: At, team: Name, body: TeamChange, query: Expects, response: Response, if_match: IfMatch = None
) -> TeamEntity:
    """Change a team's fields."""
    at.see_team(team)
    changes: dict[str, Any] = said(body)
    if "name" in changes and at.bearer.team is not None:
        raise AccessDenied("name: a team is renamed by an admin")
    if at.bearer.team is not None and any(name.startswith("content") for name in changes):
        raise AccessDenied("content: what is kept of a team's calls is for an admin to say")
    expected = revision(query, if_match)
    async with at.managing() as repo:
        changed = await repo.update_team(team, expected_revision=expected, **changes)
    return tagged(response, changed)


@router.delete("/{team}")
async def archive_team(
    at: At, team: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> TeamEntity:
    """Take a team out of use: its keys and tokens end, its own aliases and limits are archived."""
    at.see_team(team)
    gone = await at.admin().archive_team(team, expected_revision=revision(query, if_match))
    return tagged(response, gone)
