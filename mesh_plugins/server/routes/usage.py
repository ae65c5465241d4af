"""What was used: the same report as ``mesh usage``."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from mesh_plugins.server.desk import At
from mesh_plugins.server.queries import Asked
from mesh_store.model.fields import Instant
from mesh_store.postgres.usage import By, usage_report

router = APIRouter(prefix="/usage", tags=["usage"])


class UsageQuery(Asked):
    by: list[By] = Field(default=[], max_length=9, description="Dimensions of the rows; none gives one row.")
    since: Instant | None = Field(default=None, description="First moment that counts, to the minute.")
    until: Instant | None = Field(default=None, description="First moment that no longer counts.")
    team: str | None = Field(default=None, max_length=400, description="Only this team's.")


class UsageRow(BaseModel):
    """One row of a report; of the dimensions only those asked for are there."""

    team: str | None = None
    user: str | None = None
    key: str | None = None
    alias: str | None = None
    provider: str | None = None
    model: str | None = None
    minute: datetime | None = None
    hour: datetime | None = None
    day: datetime | None = None
    calls: int
    attempts: int
    denied: int
    errors: int
    cancelled: int
    lost: int
    estimated: int
    unpriced: int
    shadow_denied: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_usd: Decimal
    mean_latency_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


class UsageReport(BaseModel):
    """Rows by cost, then calls, the highest first."""

    rows: list[UsageRow]


@router.get("", response_model_exclude_unset=True)
async def report_usage(at: At, query: Annotated[UsageQuery, Query()]) -> UsageReport:
    """Sum up calls, tokens and cost by any dimensions."""
    at.see_team(query.team)
    team_id = at.team_id
    if team_id is None and query.team is not None:
        team_id = (await at.repo.get_team(query.team)).id
    by = list(dict.fromkeys(query.by))
    rows = await usage_report(at.control.database, by, query.since, query.until, team=team_id)
    return UsageReport(rows=[UsageRow.model_validate(row) for row in rows])
