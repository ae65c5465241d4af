"""Sums per hour, when a key last called, and one way to read any span."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0008_hours.sql"

DIMENSIONS = ("team_id", "user_id", "key_id", "alias", "provider", "model")
COUNTS = (
    *("calls", "attempts", "denied", "errors", "cancelled", "lost", "estimated", "unpriced", "input_tokens"),
    *("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "audio_input_tokens"),
    "audio_output_tokens",
)
TYPES = {
    "grain": "text",
    "starts_at": "timestamptz",
    **dict.fromkeys(DIMENSIONS, "text"),
    **dict.fromkeys(COUNTS, "bigint"),
    "cost_pico_usd": "numeric",
    "duration_us": "bigint",
    "latency": "bigint[]",
    "ttft": "bigint[]",
    "last_at": "timestamptz",
}


def upgrade() -> None:
    text = SQL.read_text("utf-8")
    for name, words in {
        "types": ", ".join(f"{name} {kind}" for name, kind in TYPES.items()),
        "columns": ", ".join(TYPES),
        "latency": _histogram("latency"),
        "ttft": _histogram("ttft"),
    }.items():
        text = text.replace(f"{{{name}}}", words)
    for statement in split_statements(text).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION usage_percentile(numeric[], numeric)")
    op.execute("DROP FUNCTION usage_grain(timestamptz, timestamptz)")
    op.execute("DROP FUNCTION usage_between(timestamptz, timestamptz, text)")
    op.execute("DROP FUNCTION usage_ceiling(text, timestamptz)")
    op.execute("DROP FUNCTION usage_floor(text, timestamptz)")
    op.drop_index("ix_usage_rollups_key_id", "usage_rollups")
    op.drop_column("usage_rollups", "last_at")
    op.execute("DELETE FROM usage_rollups WHERE grain = 'hour'")
    op.drop_constraint("ck_usage_rollups_grain_known", "usage_rollups")
    op.execute(
        "ALTER TABLE usage_rollups ADD CONSTRAINT ck_usage_rollups_grain_known"
        " CHECK (grain IN ('minute', 'day'))"
    )


def _histogram(column: str) -> str:
    return f"ARRAY[{', '.join(f'sum({column}[{bucket}])' for bucket in range(1, 21))}]"
