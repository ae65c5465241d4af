"""Admin tokens; only an admin has to do with them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from mesh_plugins.server.bodies import MintedTokenEntity, NewToken, lifetime
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Name, Paged, PageOf, page, revision, tagged
from mesh_store.model.tokens import TokenEntity

router = APIRouter(prefix="/tokens", tags=["tokens"])


class TokenQuery(Paged):
    revoked: bool = Field(default=False, description="Revoked ones, too.")


@router.get("")
async def list_tokens(at: At, query: Annotated[TokenQuery, Query()]) -> PageOf[TokenEntity]:
    """List the tokens; of their text only the last four characters are known."""
    return page(await at.admin().list_tokens(**dict(query)))


@router.post("", status_code=201)
async def create_token(at: At, body: NewToken, response: Response) -> MintedTokenEntity:
    """Mint a token; its text is shown now and never again."""
    fields = dict(body) | {"expires": lifetime(body.expires)}
    entity, minted = await at.admin().create_token(**fields)
    return tagged(response, MintedTokenEntity(**dict(entity), token=minted.text))


@router.get("/{token}")
async def read_token(at: At, token: Name, response: Response) -> TokenEntity:
    """Read a token by its id, revoked or not."""
    return tagged(response, await at.admin().get_token(token))


@router.delete("/{token}")
async def revoke_token(
    at: At, token: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> TokenEntity:
    """Revoke a token for ever; the next request with it is refused."""
    gone = await at.admin().revoke_token(token, expected_revision=revision(query, if_match))
    return tagged(response, gone)
