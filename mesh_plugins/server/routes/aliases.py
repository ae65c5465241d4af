"""Aliases. A team reads those it may use; which models it may use is an admin's to say."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mesh_plugins.server.bodies import AliasChange, said
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
from mesh_store.model.entities import AliasEntity, AliasSpec

router = APIRouter(prefix="/aliases", tags=["aliases"])

Whose = Annotated[OfTeam, Query()]
Changes = Annotated[ExpectedOfTeam, Query()]


class AliasQuery(Listed, OfTeam):
    pass


@router.get("")
async def list_aliases(at: At, query: Annotated[AliasQuery, Query()]) -> PageOf[AliasEntity]:
    """List the aliases by name: all of them, a team's own, or what the token's team may use."""
    at.see_team(query.team)
    if at.team_id is None:
        return page(await at.repo.list_aliases(**dict(query)))
    return page(await at.repo.aliases_for_team(at.team_id, after=query.after, limit=query.limit))


@router.post("", status_code=201)
async def create_alias(at: At, body: AliasSpec, response: Response) -> AliasEntity:
    """Create an alias; with `team` it is that team's own and hides a global one of the name."""
    at.see_team(body.team)
    fields = said(body) | {"targets": [said(target) for target in body.targets]}
    return tagged(response, await at.admin().create_alias(**fields))


@router.get("/{alias}")
async def read_alias(at: At, alias: Name, query: Whose, response: Response) -> AliasEntity:
    """Read an alias: the global one, a team's own, or what the token's team means by the name."""
    at.see_team(query.team)
    if at.team_id is None:
        return tagged(response, await at.repo.get_alias(alias, team=query.team))
    return tagged(response, await at.repo.alias_for_team(at.team_id, alias))


@router.patch("/{alias}")
async def update_alias(
    at: At, alias: Name, body: AliasChange, query: Changes, response: Response, if_match: IfMatch = None
) -> AliasEntity:
    """Change an alias where it runs; `targets` and `grants` replace the present ones."""
    at.see_team(query.team)
    changes = said(body)
    if "targets" in changes:
        changes["targets"] = [said(target) for target in body.targets]
    expected = revision(query, if_match)
    repo = at.admin()
    changed = await repo.update_alias(alias, for_team=query.team, expected_revision=expected, **changes)
    return tagged(response, changed)


@router.delete("/{alias}")
async def archive_alias(
    at: At, alias: Name, query: Changes, response: Response, if_match: IfMatch = None
) -> AliasEntity:
    """Take an alias out of use; its limits go with it."""
    at.see_team(query.team)
    expected = revision(query, if_match)
    gone = await at.admin().archive_alias(alias, team=query.team, expected_revision=expected)
    return tagged(response, gone)
