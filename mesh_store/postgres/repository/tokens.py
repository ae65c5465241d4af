"""Admin tokens: minted and shown once, compared by digest, revoked for ever."""

from __future__ import annotations

import hmac
import logging
from typing import get_args

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import Page, checked
from mesh_store.model.errors import InvalidKey
from mesh_store.model.keys import digest
from mesh_store.model.tokens import (
    REFUSAL,
    Bearer,
    MintedToken,
    Role,
    TokenEntity,
    TokenSpec,
    mint_token,
    parse_token,
)
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.keys import DEFAULT_LIFETIME, Expires, check_future, expiry
from mesh_store.postgres.repository.part import (
    Part,
    as_text,
    check_revision,
    found,
    fresh,
    now,
    page_of,
)
from mesh_store.postgres.repository.people import TEAM
from mesh_store.postgres.token_tables import TokenRow

log = logging.getLogger(__name__)

#: Compared with when there is no such token, so that the answer takes as long.
_NOBODYS_DIGEST = bytes(32)

_ROLE: dict[str, Role] = {role: role for role in get_args(Role)}

_TOKENS: Select[TokenRow, str | None] = select(TokenRow, TeamRow.name.label("team")).outerjoin(
    TeamRow, TeamRow.id == TokenRow.team_id
)


class Tokens(Part):
    """Tokens of the control plane's API, by id; fields are those of `TokenSpec`."""

    async def create_token(
        self, *, expires: Expires = DEFAULT_LIFETIME, **fields: object
    ) -> tuple[TokenEntity, MintedToken]:
        """Mint a token; its text exists nowhere else from now on.

        Args:
            expires: when it ends; None means never.
            fields: ``role``, ``team``, ``description``.
        """
        spec = checked(TokenSpec, "token", {"expires_at": expiry(expires), **fields})
        check_future(spec.expires_at)
        async with self._work() as work:
            team = await named.referenced(work.session, TEAM, spec.team) if spec.team else None
            minted = mint_token()
            row = TokenRow(
                id=minted.id,
                role=spec.role,
                team_id=team.id if team else None,
                description=spec.description,
                digest=minted.digest,
                last_four=minted.last_four,
                expires_at=spec.expires_at,
                **fresh(),
            )
            work.session.add(row)
            await work.flush()
            entity = _entity(row, spec.team)
            work.record("token.create", entity_id=row.id, name=row.id, after=entity)
            return entity, minted

    async def get_token(self, token_id: str) -> TokenEntity:
        """Return a token, revoked or not, or raise `NotFound`."""
        async with self._reading() as session:
            row = await _row(session, token_id)
            return _entity(row, await _team_name(session, row))

    async def list_tokens(
        self, *, revoked: bool = False, after: str | None = None, limit: int = 100
    ) -> Page[TokenEntity]:
        """Return a page of tokens; with ``revoked`` also those."""
        query = _TOKENS if revoked else _TOKENS.where(TokenRow.revoked_at.is_(None))
        async with self._reading() as session:
            rows, following = await page_of(session, query, (TokenRow.id,), after, limit)
            return Page(tuple(_entity(row[0], row.team) for row in rows), following)

    async def revoke_token(self, token_id: str, /, *, expected_revision: int | None = None) -> TokenEntity:
        """Revoke a token for ever; revoking it again changes nothing."""
        async with self._work() as work:
            row = await _row(work.session, token_id, lock=True)
            team = await _team_name(work.session, row)
            before = _entity(row, team)
            await check_revision(work.session, row, row.id, expected_revision)
            if row.revoked_at is not None:
                return before
            row.revoked_at = now()
            await work.flush()
            after = _entity(row, team)
            work.record("token.revoke", entity_id=row.id, name=row.id, before=before, after=after)
            return after

    async def authenticate(self, text: str) -> Bearer:
        """Return whom a token speaks for at this moment.

        Raises:
            InvalidKey: unknown, wrong, revoked and expired ones alike; the log says which.
        """
        token_id = parse_token(text)
        query = select(TokenRow, TeamRow).outerjoin(TeamRow, TeamRow.id == TokenRow.team_id)
        async with self._reading() as session:
            row = (await session.execute(query.where(TokenRow.id == token_id))).one_or_none()
        same = hmac.compare_digest(row[0].digest if row else _NOBODYS_DIGEST, digest(text))
        if row is None or not same:
            raise _refused(token_id, "unknown" if row is None else "wrong")
        if reason := _over(row):
            raise _refused(token_id, reason)
        token: TokenRow = row[0]
        team: TeamRow | None = row[1]
        return Bearer(token_id, _ROLE[token.role], token.team_id, team.name if team else None)


def _refused(token_id: str, reason: str) -> InvalidKey:
    log.warning("admin token %s was refused: %s", token_id, reason)
    return InvalidKey(REFUSAL)


def _over(row: Row[TokenRow, TeamRow | None]) -> str:
    """Say why a token that is right is good no more, or nothing."""
    token, team = row[0], row[1]
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now():
        return "expired"
    if team is not None and team.archived_at is not None:
        return "its team is archived"
    return ""


async def _row(session: AsyncSession, token_id: str, *, lock: bool = False) -> TokenRow:
    query = select(TokenRow).where(TokenRow.id == as_text("token", token_id))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await found(session, query, f"token {token_id[:16]!r}")


async def _team_name(session: AsyncSession, row: TokenRow) -> str | None:
    team = None if row.team_id is None else await session.get(TeamRow, row.team_id)
    return team.name if team else None


def _entity(row: TokenRow, team: str | None) -> TokenEntity:
    stored = (
        "id", "role", "description", "last_four", "expires_at", "revoked_at", "revision", "created_at",
        "updated_at",
    )  # fmt: skip
    return TokenEntity.model_validate({"team": team} | {name: getattr(row, name) for name in stored})
