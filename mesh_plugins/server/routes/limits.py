"""Limits. A team's admin sets those on single keys and members; what the team as a whole has is given."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from mesh_plugins.server.bodies import LimitChange, said
from mesh_plugins.server.desk import At, Desk
from mesh_plugins.server.queries import Expects, IfMatch, Listed, Name, PageOf, page, revision, tagged
from mesh_store.model.entities import LimitEntity, LimitSpec
from mesh_store.model.errors import AccessDenied
from mesh_store.postgres.repository import Repository

router = APIRouter(prefix="/limits", tags=["limits"])


class LimitQuery(Listed):
    team: str | None = Field(default=None, max_length=400, description="Only this team's.")
    user: str | None = Field(default=None, max_length=400, description="Only this user's.")
    key: str | None = Field(default=None, max_length=400, description="Only this key's.")


@router.get("")
async def list_limits(at: At, query: Annotated[LimitQuery, Query()]) -> PageOf[LimitEntity]:
    """List the limits in the order they were made."""
    at.see_team(query.team)
    if at.team_id is None:
        return page(await at.repo.list_limits(**dict(query)))
    narrowed = dict(query)
    del narrowed["team"]
    return page(await at.repo.limits_of_team(at.team_id, **narrowed))


@router.post("", status_code=201)
async def create_limit(at: At, body: LimitSpec, response: Response) -> LimitEntity:
    """Limit what all the given subjects have in common; without any, every call."""
    at.see_team(body.team)
    async with at.managing() as repo:
        await _check_subjects(at, repo, body)
        made = await repo.create_limit(**dict(body))
    return tagged(response, made)


@router.get("/{limit}")
async def read_limit(at: At, limit: Name, response: Response) -> LimitEntity:
    """Read a limit."""
    return tagged(response, await _own(at, at.repo, limit))


@router.patch("/{limit}")
async def update_limit(
    at: At, limit: Name, body: LimitChange, query: Expects, response: Response, if_match: IfMatch = None
) -> LimitEntity:
    """Change a limit where it runs; what was spent stays spent."""
    expected = revision(query, if_match)
    async with at.managing() as repo:
        await _check_subjects(at, repo, await _own(at, repo, limit))
        changed = await repo.update_limit(limit, expected_revision=expected, **said(body))
    return tagged(response, changed)


@router.delete("/{limit}")
async def archive_limit(
    at: At, limit: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> LimitEntity:
    """Take a limit out of use."""
    expected = revision(query, if_match)
    async with at.managing() as repo:
        await _check_subjects(at, repo, await _own(at, repo, limit))
        gone = await repo.archive_limit(limit, expected_revision=expected)
    return tagged(response, gone)


async def _own(at: Desk, repo: Repository, limit_id: str) -> LimitEntity:
    if at.team_id is None:
        return await repo.get_limit(limit_id)
    return await repo.limit_of_team(at.team_id, limit_id)


async def _check_subjects(at: Desk, repo: Repository, limit: LimitSpec) -> None:
    """Keep a team's admin to single keys and members of the team, whoever made the limit.

    Raises:
        AccessDenied: it is the whole team's limit, or names what all teams share.
        NotFound: a key or alias in it is none of this team's.
    """
    if at.team_id is None:
        return
    if limit.key is not None:
        await repo.key_of_team(at.team_id, limit.key)
    single = limit.key is not None or (limit.team is not None and limit.user is not None)
    if not single or limit.provider is not None or limit.target is not None:
        raise AccessDenied(
            "a team's admin limits single keys (key) and members (team and user), on aliases of the team "
            "if need be; every other limit is an admin's"
        )
    if limit.alias is not None:
        await repo.alias_for_team(at.team_id, limit.alias)
