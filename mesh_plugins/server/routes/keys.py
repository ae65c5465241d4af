"""Callers' keys: minted and shown once, rotated, revoked."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from mesh_plugins.server.bodies import KeyChange, MintedKeyEntity, NewKey, Rotation, lifetime, said
from mesh_plugins.server.desk import At, Desk
from mesh_plugins.server.queries import Expects, IfMatch, Name, Paged, PageOf, page, revision, tagged
from mesh_store.model.entities import KeyEntity
from mesh_store.model.keys import MintedKey
from mesh_store.postgres.repository import Repository

router = APIRouter(prefix="/keys", tags=["keys"])


class KeyQuery(Paged):
    team: str | None = Field(default=None, description="Only this team's.")
    user: str | None = Field(default=None, description="Only this user's.")
    revoked: bool = Field(default=False, description="Revoked ones, too.")


@router.get("")
async def list_keys(at: At, query: Annotated[KeyQuery, Query()]) -> PageOf[KeyEntity]:
    """List the keys; of their text only the last four characters are known."""
    at.see_team(query.team)
    narrowed = dict(query) | {"team": at.bearer.team or query.team}
    async with at.looking() as repo:
        return page(await repo.list_keys(**narrowed))


@router.post("", status_code=201)
async def create_key(at: At, body: NewKey, response: Response) -> MintedKeyEntity:
    """Mint a key; its text is shown now and never again."""
    at.see_team(body.team)
    fields = dict(body) | {"expires": lifetime(body.expires)}
    async with at.managing() as repo:
        made = await repo.create_key(**fields)
    return tagged(response, _shown(*made))


@router.get("/{key}")
async def read_key(at: At, key: Name, response: Response) -> KeyEntity:
    """Read a key, revoked or not."""
    return tagged(response, await _own(at, at.repo, key))


@router.patch("/{key}")
async def update_key(
    at: At, key: Name, body: KeyChange, query: Expects, response: Response, if_match: IfMatch = None
) -> KeyEntity:
    """Change a live key."""
    expected, changes = revision(query, if_match), said(body)
    if "expires" in changes:
        changes["expires"] = lifetime(changes["expires"])
    async with at.managing() as repo:
        await _own(at, repo, key)
        changed = await repo.update_key(key, expected_revision=expected, **changes)
    return tagged(response, changed)


@router.post("/{key}/rotate")
async def rotate_key(
    at: At, key: Name, body: Rotation, query: Expects, response: Response, if_match: IfMatch = None
) -> MintedKeyEntity:
    """Give a key a new secret, shown now and never again; the old one works for `overlap` longer."""
    expected, expires = revision(query, if_match), lifetime(body.expires)
    async with at.managing() as repo:
        await _own(at, repo, key)
        made = await repo.rotate_key(key, overlap=body.overlap, expires=expires, expected_revision=expected)
    return tagged(response, _shown(*made))


@router.delete("/{key}")
async def revoke_key(
    at: At, key: Name, query: Expects, response: Response, if_match: IfMatch = None
) -> KeyEntity:
    """Revoke a key for ever; callers refuse it within a second."""
    expected = revision(query, if_match)
    async with at.managing() as repo:
        await _own(at, repo, key)
        gone = await repo.revoke_key(key, expected_revision=expected)
    return tagged(response, gone)


async def _own(at: Desk, repo: Repository, key_id: str) -> KeyEntity:
    if at.team_id is None:
        return await repo.get_key(key_id)
    return await repo.key_of_team(at.team_id, key_id)


def _shown(entity: KeyEntity, minted: MintedKey) -> MintedKeyEntity:
    return MintedKeyEntity(**dict(entity), key=minted.text)
