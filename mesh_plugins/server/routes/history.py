"""The audit log, and who the token is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Paged, PageOf, page
from mesh_store.model.entities import AuditEntry
from mesh_store.model.tokens import Role

router = APIRouter(tags=["history"])


class AuditQuery(Paged):
    kind: str | None = Field(default=None, max_length=100, description="Such as `team` or `key`.")
    entity_id: str | None = Field(default=None, max_length=200)
    actor: str | None = Field(default=None, max_length=200)


class Me(BaseModel):
    """Whom the token speaks for; `team` null means all teams."""

    token: str
    role: Role
    team: str | None


@router.get("/audit")
async def list_audit(at: At, query: Annotated[AuditQuery, Query()]) -> PageOf[AuditEntry]:
    """List who did what, newest first."""
    if at.team_id is None:
        return page(await at.repo.list_audit(**dict(query)))
    return page(await at.repo.audit_of_team(at.team_id, **dict(query)))


@router.get("/me")
async def read_me(at: At) -> Me:
    """Read what this token may do."""
    return Me(token=at.bearer.token_id, role=at.bearer.role, team=at.bearer.team)
