"""Content samples: what calls asked and were answered. For admins and a team's admins; not for viewers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Asked
from mesh_store.model.errors import AccessDenied
from mesh_store.model.fields import Instant
from mesh_store.postgres.content_samples import look

router = APIRouter(prefix="/samples", tags=["samples"])


class SamplesQuery(Asked):
    team: str | None = Field(default=None, max_length=400, description="Only this team's.")
    since: Instant | None = Field(default=None, description="First moment that counts.")
    limit: int = Field(default=20, ge=1, le=200, description="How many at most, the newest first.")


class SampleRow(BaseModel):
    """One call's content, redacted; `cut` when it was longer than is kept."""

    at: datetime
    fact_id: str
    call_id: str
    team: str
    user: str | None
    key: str
    alias: str
    model: str | None
    outcome: str
    request: str
    reply: str
    cut: bool


class Samples(BaseModel):
    """Samples, the newest first."""

    rows: list[SampleRow]


@router.get("")
async def list_samples(at: At, query: Annotated[SamplesQuery, Query()]) -> Samples:
    """Read content samples of teams that switched them on."""
    if at.bearer.role == "viewer":
        raise AccessDenied("what calls say is not for viewers: this needs the role admin or team-admin")
    at.see_team(query.team)
    team_id = at.team_id
    if team_id is None and query.team is not None:
        team_id = (await at.repo.get_team(query.team)).id
    rows = await look(at.control.database, team=team_id, since=query.since, limit=query.limit)
    return Samples(rows=[SampleRow.model_validate(row) for row in rows])
