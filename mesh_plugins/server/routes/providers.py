"""Providers: vendor accounts, shared by all teams; secrets are references and stay so."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mesh_plugins.server.bodies import ProviderChange, said
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Lists, Name, PageOf, page, revision, tagged
from mesh_store.model.entities import ProviderEntity, ProviderSpec

router = APIRouter(prefix="/providers", tags=["providers"])


@router.get("")
async def list_providers(at: At, query: Lists) -> PageOf[ProviderEntity]:
    """List the providers by name."""
    return page(await at.overview().list_providers(**dict(query)))


@router.post("", status_code=201)
async def create_provider(at: At, body: ProviderSpec, response: Response) -> ProviderEntity:
    """Create a provider."""
    return tagged(response, await at.admin().create_provider(**dict(body)))


@router.get("/{provider}")
async def read_provider(at: At, provider: Name, response: Response) -> ProviderEntity:
    """Read a provider."""
    return tagged(response, await at.overview().get_provider(provider))


@router.patch("/{provider}")
async def update_provider(
    at: At, provider: Name, body: ProviderChange, query: Expects, response: Response, if_match: IfMatch = None
) -> ProviderEntity:
    """Change a provider's fields."""
    expected = revision(query, if_match)
    changed = await at.admin().update_provider(provider, expected_revision=expected, **said(body))
    return tagged(response, changed)


@router.delete("/{provider}")
async def archive_provider(
    at: At, provider: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> ProviderEntity:
    """Take a provider out of use, once no alias has targets there."""
    gone = await at.admin().archive_provider(provider, expected_revision=revision(query, if_match))
    return tagged(response, gone)
