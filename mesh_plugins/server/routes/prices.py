"""Prices of an operator's own, over the built-in list."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mesh_plugins.server.bodies import Price, PriceChange, said
from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Expects, IfMatch, Lists, Name, PageOf, page, revision, tagged
from mesh_store.model.entities import PriceEntity

router = APIRouter(tags=["prices"])

_ONE = "/providers/{provider}/prices/{model}"


@router.get("/prices")
async def list_prices(at: At, query: Lists) -> PageOf[PriceEntity]:
    """List the prices by provider and model; USD per million tokens, `request` per call."""
    return page(await at.overview().list_prices(**dict(query)))


@router.get(_ONE)
async def read_price(at: At, provider: Name, model: Name, response: Response) -> PriceEntity:
    """Read the price of a model; the built-in list is not asked."""
    return tagged(response, await at.overview().get_price(provider, model))


@router.put(_ONE)
async def set_price(
    at: At,
    provider: Name,
    model: Name,
    body: Price,
    query: Expects,
    response: Response,
    if_match: IfMatch = None,
) -> PriceEntity:
    """Set the price of a model, whether it has one or not."""
    expected = revision(query, if_match)
    fields = {"provider": provider, "model": model} | said(body)
    return tagged(response, await at.admin().set_price(expected_revision=expected, **fields))


@router.patch(_ONE)
async def update_price(
    at: At,
    provider: Name,
    model: Name,
    body: PriceChange,
    query: Expects,
    response: Response,
    if_match: IfMatch = None,
) -> PriceEntity:
    """Change some of a model's prices."""
    expected = revision(query, if_match)
    changed = await at.admin().update_price(provider, model, expected_revision=expected, **said(body))
    return tagged(response, changed)


@router.delete(_ONE)
async def archive_price(
    at: At, provider: Name, model: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> PriceEntity:
    """Go back to the built-in price of a model."""
    gone = await at.admin().archive_price(provider, model, expected_revision=revision(query, if_match))
    return tagged(response, gone)
