"""Keys as values: their rows with the names of team and user and what may be shown of their secrets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import KeyEntity, KeySpec, SecretEntity
from mesh_store.model.keys import MintedKey
from mesh_store.postgres.people_tables import KeyRow, KeySecretRow, TeamRow, UserRow
from mesh_store.postgres.repository.part import now


async def key_entities(session: AsyncSession, rows: Sequence[KeyRow]) -> list[KeyEntity]:
    """Return the values of rows, with three queries for any number of them."""
    if not rows:
        return []
    teams = await _names(session, TeamRow, {row.team_id for row in rows})
    users = await _names(session, UserRow, {row.user_id for row in rows if row.user_id})
    secrets = await _secrets(session, [row.id for row in rows])
    return [
        KeyEntity(
            id=row.id,
            team=teams[row.team_id],
            user=users[row.user_id] if row.user_id else None,
            description=row.description,
            aliases=None if row.aliases is None else tuple(row.aliases),
            expires_at=row.expires_at,
            metadata=row.attributes,
            secrets=tuple(secrets[row.id]),
            revoked_at=row.revoked_at,
            revision=row.revision,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def new_key_entity(row: KeyRow, spec: KeySpec, minted: MintedKey) -> KeyEntity:
    """Return the value of a key that was just minted."""
    secret = SecretEntity(last_four=minted.last_four, created_at=row.created_at)
    stored = {name: getattr(row, name) for name in ("id", "revision", "created_at", "updated_at")}
    return KeyEntity(**spec.model_dump(), **stored, secrets=(secret,))


async def _names(session: AsyncSession, table: type[TeamRow | UserRow], ids: set[str]) -> dict[str, str]:
    rows = (await session.execute(select(table.id, table.name).where(table.id.in_(ids)))).all()
    return {row.id: row.name for row in rows}


async def _secrets(session: AsyncSession, ids: list[str]) -> dict[str, list[SecretEntity]]:
    query = select(KeySecretRow).where(KeySecretRow.key_id.in_(ids))
    secrets: dict[str, list[SecretEntity]] = defaultdict(list)
    at = now()
    newest_first = query.order_by(KeySecretRow.expires_at.desc().nulls_first())
    for row in (await session.execute(newest_first)).scalars():
        if row.expires_at is None or row.expires_at > at:
            secret = SecretEntity(
                last_four=row.last_four, created_at=row.created_at, expires_at=row.expires_at
            )
            secrets[row.key_id].append(secret)
    return secrets
