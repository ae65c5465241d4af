"""Providers: vendor accounts. A team's admin has to do with the team's own accounts, an admin with all.

`team` names a team whose own account is meant; a token of one team always means that team's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mesh_plugins.server.accounts import accounts
from mesh_plugins.server.bodies import ProviderChange, said
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import (
    ExpectedOfTeam,
    IfMatch,
    Listed,
    Name,
    OfTeam,
    PageOf,
    page,
    revision,
    tagged,
)
from mesh_store.model.entities import ProviderEntity, ProviderSpec
from mesh_store.model.errors import AccessDenied

router = APIRouter(prefix="/providers", tags=["providers"])

Whose = Annotated[OfTeam, Query()]
Changes = Annotated[ExpectedOfTeam, Query()]


class ProviderQuery(Listed, OfTeam):
    pass


@router.get("")
async def list_providers(at: At, query: Annotated[ProviderQuery, Query()]) -> PageOf[ProviderEntity]:
    """List the providers by name: all of them, a team's own, or those of the token's team."""
    narrowed = dict(query) | {"team": at.whose(query.team)}
    async with at.looking() as repo:
        return page(await repo.list_providers(**narrowed))


@router.post("", status_code=201)
async def create_provider(at: At, body: ProviderSpec, response: Response) -> ProviderEntity:
    """Create a provider; with `team` it is that team's own account, in place of a global one."""
    async with accounts(at, body.team) as own:
        if own.team != body.team:
            raise AccessDenied("a provider for every team is an admin's to create: say which `team`")
        own.check(dict(body))
        made = await own.repo.create_provider(**dict(body))
    return tagged(response, made)


@router.get("/{provider}")
async def read_provider(at: At, provider: Name, query: Whose, response: Response) -> ProviderEntity:
    """Read a provider: the global one, or a team's own."""
    team = at.whose(query.team)
    async with at.looking() as repo:
        return tagged(response, await repo.get_provider(provider, team=team))


@router.patch("/{provider}")
async def update_provider(
    at: At, provider: Name, body: ProviderChange, query: Changes, response: Response, if_match: IfMatch = None
) -> ProviderEntity:
    """Change a provider's fields; a stored secret follows it to its address."""
    async with accounts(at, query.team) as own:
        expected, changes = await own.revision_of(provider, revision(query, if_match)), said(body)
        own.check(changes)
        made = await own.repo.update_provider(
            provider, for_team=own.team, expected_revision=expected, **changes
        )
    return tagged(response, made)


@router.delete("/{provider}")
async def archive_provider(
    at: At, provider: Name, query: Changes, response: Response, if_match: IfMatch = None
) -> ProviderEntity:
    """Take a provider out of use: a global one once no alias has targets there, a team's own at once."""
    async with accounts(at, query.team) as own:
        expected = revision(query, if_match)
        gone = await own.repo.archive_provider(provider, team=own.team, expected_revision=expected)
    return tagged(response, gone)
