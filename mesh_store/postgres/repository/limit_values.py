"""Limits as values: their rows with the names of their subjects, the text, and the label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import aliased

from mesh_store.model.entities import LimitEntity
from mesh_store.model.limit_text import LimitTerms
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import TeamRow, UserRow
from mesh_store.postgres.routing_tables import AliasRow, ProviderRow, TargetRow

_TargetProvider = aliased(ProviderRow)

#: A limit and, in this order, the names its subjects go by.
LIMIT_VALUES: Select[LimitRow, str, str, str, str, str] = (
    select(
        LimitRow,
        TeamRow.name.label("team"),
        UserRow.name.label("user"),
        AliasRow.name.label("alias"),
        ProviderRow.name.label("provider"),
        (_TargetProvider.name + "/" + TargetRow.model).label("target"),
    )
    .outerjoin(TeamRow, TeamRow.id == LimitRow.team_id)
    .outerjoin(UserRow, UserRow.id == LimitRow.user_id)
    .outerjoin(AliasRow, AliasRow.id == LimitRow.alias_id)
    .outerjoin(ProviderRow, ProviderRow.id == LimitRow.provider_id)
    .outerjoin(TargetRow, TargetRow.id == LimitRow.target_id)
    .outerjoin(_TargetProvider, _TargetProvider.id == TargetRow.provider_id)
)


def limit_entity(row: Row[*tuple[Any, ...]]) -> LimitEntity:
    """Return the value of a row of `LIMIT_VALUES`."""
    limit: LimitRow = row[0]
    names = {
        "team": row.team,
        "user": row.user,
        "key": limit.key_id,
        "alias": row.alias,
        "provider": row.provider,
        "target": row.target,
        "end_user": limit.end_user,
        "tag": limit.tag,
    }
    return limit_entity_of(limit, names)


def limit_entity_of(limit: LimitRow, names: dict[str, str | None]) -> LimitEntity:
    """Return the value of a limit whose subjects go by ``names``."""
    return LimitEntity.model_validate(
        {
            "id": limit.id,
            **names,
            "limit": terms_of(vars(limit)).text,
            "label": label_of(names),
            "distinct": limit.distinct_values,
            "enforce": limit.enforce,
            "on_exhausted": limit.on_exhausted,
            "revision": limit.revision,
            "created_at": limit.created_at,
            "updated_at": limit.updated_at,
            "archived_at": limit.archived_at,
        }
    )


def terms_of(columns: Mapping[str, Any]) -> LimitTerms:
    """Return what a stored limit says."""
    return LimitTerms(**{name: columns[name] for name in LimitTerms.__struct_fields__})


def label_of(names: dict[str, str | None]) -> str:
    """Return a subject as people call it: ``team research, alias fast``; ``everyone`` when it is all."""
    return (
        ", ".join(f"{kind.replace('_', ' ')} {name}" for kind, name in names.items() if name is not None)
        or "everyone"
    )
