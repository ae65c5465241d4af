"""From the names an operator writes to the ids that are stored."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.errors import NotFound, Rejected
from mesh_store.model.patterns import covers, is_pattern, prefixes
from mesh_store.postgres.repository.part import as_text, found
from mesh_store.postgres.routing_tables import AliasGrantRow, AliasRow, ProviderRow, TargetRow

_MEANT = "aliases by name and team"


async def alias_row(session: AsyncSession, name: str, team_id: str | None, *, lock: bool = False) -> AliasRow:
    """Return the live alias of exactly this owner; ``team_id`` None means the global one."""
    query = select(AliasRow).where(AliasRow.name == as_text("alias", name), AliasRow.archived_at.is_(None))
    query = query.where(AliasRow.team_id.is_(None) if team_id is None else AliasRow.team_id == team_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await found(session, query, f"alias {name[:128]!r}")


async def meant_alias(session: AsyncSession, name: str, team_id: str | None) -> AliasRow:
    """Return the alias a team means by a name: its own, else the global one.

    Asked again in one batch, the answer comes from memory, until `forget_aliases`.
    """
    known: dict[str, dict[str | None, AliasRow]] = session.info.setdefault(_MEANT, {})
    if name not in known:
        # Everybody's of the name: a manifest asks for one alias on behalf of a thousand teams.
        query = select(AliasRow).where(
            AliasRow.name == as_text("alias", name), AliasRow.archived_at.is_(None)
        )
        known[name] = {row.team_id: row for row in (await session.execute(query)).scalars()}
    meant = known[name].get(team_id) or known[name].get(None)
    if meant is None:
        raise NotFound(f"there is no alias {name[:128]!r}", field="alias")
    return meant


def forget_aliases(session: AsyncSession) -> None:
    """Ask again which alias a name means, because one came, went or changed its name."""
    session.info.pop(_MEANT, None)


async def target_row(session: AsyncSession, alias: AliasRow, target: str) -> TargetRow:
    """Return a live target of an alias by ``provider/model``; the lowest tier when it is in several."""
    query = (
        select(TargetRow)
        .join(ProviderRow, ProviderRow.id == TargetRow.provider_id)
        .where(TargetRow.alias_id == alias.id, TargetRow.archived_at.is_(None))
        .where(ProviderRow.name + "/" + TargetRow.model == target)
        .order_by(TargetRow.tier)
        .limit(1)
    )
    return await found(session, query, f"target {target!r} of alias {alias.name!r}")


async def check_aliases_exist(
    session: AsyncSession, team_id: str, team: str, names: Sequence[str] | None
) -> None:
    """Refuse names that the team cannot call: a typo would make a key that opens nothing."""
    if names is None:
        return
    granted = select(AliasGrantRow.alias_id).where(AliasGrantRow.team_id == team_id)
    query = (
        select(AliasRow.name)
        .where(AliasRow.archived_at.is_(None))
        .where(or_(AliasRow.team_id.is_(None), AliasRow.team_id == team_id))
        .where(or_(AliasRow.everyone, AliasRow.id.in_(granted)))
    )
    usable = set((await session.execute(query)).scalars())
    if missing := next((name for name in names if not _opens(name, usable)), None):
        some = ", ".join(sorted(usable)[:10]) or "none yet"
        raise Rejected(
            f"key: aliases: team {team!r} has no alias {missing!r} (it has: {some})", field="aliases"
        )


def _opens(name: str, usable: set[str]) -> bool:
    """Tell whether a key's entry means any alias: by name, by a pattern that catches it, or as a prefix."""
    asked = name.removesuffix("/*")
    if name in usable or any(f"{prefix}*" in usable for prefix, _ in prefixes(asked)):
        return True
    return is_pattern(name) and any(covers(name, each) for each in usable)
