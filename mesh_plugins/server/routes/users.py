"""Users: people and services, of all teams; a team's admin sees its own through its members."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mesh_plugins.server.bodies import UserChange, said
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Lists, Name, PageOf, page, revision, tagged
from mesh_store.model.entities import UserEntity, UserSpec

router = APIRouter(prefix="/users", tags=["users"])


@router.get("")
async def list_users(at: At, query: Lists) -> PageOf[UserEntity]:
    """List the users by name."""
    return page(await at.overview().list_users(**dict(query)))


@router.post("", status_code=201)
async def create_user(at: At, body: UserSpec, response: Response) -> UserEntity:
    """Create a user."""
    return tagged(response, await at.admin().create_user(**dict(body)))


@router.get("/{user}")
async def read_user(at: At, user: Name, response: Response) -> UserEntity:
    """Read a user."""
    return tagged(response, await at.overview().get_user(user))


@router.patch("/{user}")
async def update_user(
    at: At, user: Name, body: UserChange, query: Expects, response: Response, if_match: IfMatch = None
) -> UserEntity:
    """Change a user's fields."""
    expected = revision(query, if_match)
    return tagged(response, await at.admin().update_user(user, expected_revision=expected, **said(body)))


@router.delete("/{user}")
async def archive_user(
    at: At, user: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> UserEntity:
    """Take a user out of use: memberships end, keys are revoked."""
    gone = await at.admin().archive_user(user, expected_revision=revision(query, if_match))
    return tagged(response, gone)
