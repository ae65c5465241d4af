"""Aliases as values: their rows with targets, grants and the names of team and providers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import AliasEntity, TargetEntity
from mesh_store.model.shares import share_text
from mesh_store.postgres.people_tables import TeamRow
from mesh_store.postgres.routing_tables import AliasGrantRow, AliasRow, ProviderRow, TargetRow


async def alias_entities(session: AsyncSession, rows: Sequence[AliasRow]) -> list[AliasEntity]:
    """Return the values of rows, with three queries for any number of them."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    targets = await _targets(session, ids)
    grants = await _grants(session, ids)
    owners = {row.team_id for row in rows if row.team_id is not None}
    names = (await session.execute(select(TeamRow.id, TeamRow.name).where(TeamRow.id.in_(owners)))).all()
    teams: dict[str | None, str] = {row.id: row.name for row in names}
    return [alias_entity(row, teams.get(row.team_id), targets[row.id], grants[row.id]) for row in rows]


def alias_entity(
    row: AliasRow, team: str | None, targets: Sequence[TargetEntity], grants: Sequence[str]
) -> AliasEntity:
    """Return the value of a row whose parts are known."""
    return AliasEntity.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "team": team,
            "operations": row.operations,
            "grants": None if row.everyone else grants,
            "targets": targets,
            "defaults": row.defaults,
            "forced": row.forced,
            "max_output_tokens": row.max_output_tokens,
            "timeout": row.timeout_us / 1_000_000,
            "deprecated": row.deprecated,
            "revision": row.revision,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "archived_at": row.archived_at,
        }
    )


async def _targets(session: AsyncSession, alias_ids: list[str]) -> dict[str, list[TargetEntity]]:
    query = (
        select(TargetRow, ProviderRow.name)
        .join(ProviderRow, ProviderRow.id == TargetRow.provider_id)
        .where(TargetRow.alias_id.in_(alias_ids), TargetRow.archived_at.is_(None))
        .order_by(TargetRow.position, TargetRow.id)
    )
    targets: dict[str, list[TargetEntity]] = defaultdict(list)
    for row, provider in (await session.execute(query)).all():
        target = TargetEntity(
            id=row.id,
            provider=provider,
            model=row.model,
            tier=row.tier,
            weight=row.weight,
            params=row.params,
            max_output_tokens=row.max_output_tokens,
            context_window=row.context_window,
            canary=share_text(row.canary) if row.canary else None,
        )
        targets[row.alias_id].append(target)
    return targets


async def _grants(session: AsyncSession, alias_ids: list[str]) -> dict[str, list[str]]:
    query = (
        select(AliasGrantRow.alias_id, TeamRow.name)
        .join(TeamRow, TeamRow.id == AliasGrantRow.team_id)
        .where(AliasGrantRow.alias_id.in_(alias_ids), TeamRow.archived_at.is_(None))
        .order_by(TeamRow.name)
    )
    grants: dict[str, list[str]] = defaultdict(list)
    for alias_id, team in (await session.execute(query)).all():
        grants[alias_id].append(team)
    return grants
