"""Stored secrets of providers: written, never read. A team's admin writes those of its own accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mesh_plugins.server.accounts import accounts
from mesh_plugins.server.bodies import SecretValue
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import ExpectedOfTeam, IfMatch, Name, OfTeam, Paged, PageOf, page, revision
from mesh_store.model.entities import StoredSecret

router = APIRouter(tags=["secrets"])

_ONE = "/providers/{provider}/secret"

Whose = Annotated[OfTeam, Query()]
Changes = Annotated[ExpectedOfTeam, Query()]


class SecretQuery(Paged, OfTeam):
    pass


@router.get("/secrets")
async def list_secrets(at: At, query: Annotated[SecretQuery, Query()]) -> PageOf[StoredSecret]:
    """List what is stored, by provider: names of values, versions and dates, never a value."""
    narrowed = dict(query) | {"team": at.whose(query.team)}
    async with at.looking() as repo:
        return page(await repo.list_secrets(**narrowed))


@router.get(_ONE)
async def read_secret(at: At, provider: Name, query: Whose, response: Response) -> StoredSecret:
    """Read what may be known of a provider's stored secret; its version is the `ETag`."""
    team = at.whose(query.team)
    async with at.looking() as repo:
        return _versioned(response, await repo.get_secret(provider, team=team))


@router.put(_ONE)
async def set_secret(
    at: At, provider: Name, body: SecretValue, query: Changes, response: Response, if_match: IfMatch = None
) -> StoredSecret:
    """Store a provider's secret in place of what it had; callers use it within a second."""
    async with accounts(at, query.team) as own:
        stored = await own.repo.set_secret(
            provider, body.plain(), team=own.team, expected_revision=revision(query, if_match)
        )
    return _versioned(response, stored)


@router.post(_ONE + "/rotate")
async def rotate_secret(
    at: At, provider: Name, body: SecretValue, query: Changes, response: Response, if_match: IfMatch = None
) -> StoredSecret:
    """Put another value in place of a stored secret; refused where there is none yet."""
    async with accounts(at, query.team) as own:
        stored = await own.repo.rotate_secret(
            provider, body.plain(), team=own.team, expected_revision=revision(query, if_match)
        )
    return _versioned(response, stored)


def _versioned(response: Response, stored: StoredSecret) -> StoredSecret:
    response.headers["ETag"] = f'"{stored.version}"'
    return stored
