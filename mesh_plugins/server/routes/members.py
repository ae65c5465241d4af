"""Members: who belongs to which team."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mesh_plugins.server.bodies import MemberChange, NewMember
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Name, PageOf, Pages, page, revision, tagged
from mesh_store.model.entities import MemberEntity
from mesh_store.model.errors import NotFound

router = APIRouter(prefix="/teams/{team}/members", tags=["members"])


@router.get("")
async def list_members(at: At, team: Name, query: Pages) -> PageOf[MemberEntity]:
    """List a team's members."""
    at.see_team(team)
    async with at.looking() as repo:
        await repo.get_team(team)
        return page(await repo.list_members(team=team, **dict(query)))


@router.post("", status_code=201)
async def add_member(at: At, team: Name, body: NewMember, response: Response) -> MemberEntity:
    """Add a user to a team."""
    at.see_team(team)
    async with at.managing() as repo:
        added = await repo.add_member(team=team, **dict(body))
    return tagged(response, added)


@router.get("/{user}")
async def read_member(at: At, team: Name, user: Name, response: Response) -> MemberEntity:
    """Read a membership."""
    at.see_team(team)
    async with at.looking() as repo:
        await repo.get_team(team)
        found = await repo.list_members(team=team, user=user, limit=1)
    if not found.items:
        raise NotFound(f"user {user[:128]!r} is not a member of team {team!r}", field="user")
    return tagged(response, found.items[0])


@router.patch("/{user}")
async def update_member(
    at: At,
    team: Name,
    user: Name,
    body: MemberChange,
    query: Expects,
    response: Response,
    if_match: IfMatch = None,
) -> MemberEntity:
    """Change a member's role."""
    at.see_team(team)
    expected = revision(query, if_match)
    async with at.managing() as repo:
        changed = await repo.update_member(team, user, role=body.role, expected_revision=expected)
    return tagged(response, changed)


@router.delete("/{user}")
async def remove_member(
    at: At, team: Name, user: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> MemberEntity:
    """End a membership; the user's keys of that team are revoked."""
    at.see_team(team)
    expected = revision(query, if_match)
    async with at.managing() as repo:
        gone = await repo.remove_member(team, user, expected_revision=expected)
    return tagged(response, gone)
