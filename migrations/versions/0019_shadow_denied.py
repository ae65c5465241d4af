"""Rollups count the calls that limits in shadow mode would have refused."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

#: The function that reads any span, as it was made first; it names every column of a rollup.
SQL = Path(__file__).parent.parent / "sql" / "0008_hours.sql"
COUNTS = (
    *("calls", "attempts", "denied", "errors", "cancelled", "lost", "estimated", "unpriced", "input_tokens"),
    *("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "audio_input_tokens"),
    "audio_output_tokens",
)
TYPES = {
    "grain": "text",
    "starts_at": "timestamptz",
    **dict.fromkeys(("team_id", "user_id", "key_id", "alias", "provider", "model"), "text"),
    **dict.fromkeys(COUNTS, "bigint"),
    "cost_pico_usd": "numeric",
    "duration_us": "bigint",
    "latency": "bigint[]",
    "ttft": "bigint[]",
    "last_at": "timestamptz",
}


def upgrade() -> None:
    # The constant default fills what is there without rewriting it; new rows always say.
    count = sa.Column("shadow_denied", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("usage_rollups", count)
    op.alter_column("usage_rollups", "shadow_denied", server_default=None)
    _read_spans(TYPES | {"shadow_denied": "bigint"}, adjusted=", 0")


def downgrade() -> None:
    _read_spans(TYPES, adjusted="")
    op.drop_column("usage_rollups", "shadow_denied")


def _read_spans(types: dict[str, str], adjusted: str) -> None:
    text = split_statements(SQL.read_text("utf-8"))["usage_between"]
    text = text.replace("{types}", ", ".join(f"{name} {kind}" for name, kind in types.items()))
    text = text.replace("{columns}", ", ".join(types))
    # What re-pricing changed has no counts of its own.
    text = text.replace("started_at\nFROM adjustments", f"started_at{adjusted}\nFROM adjustments")
    op.execute("DROP FUNCTION usage_between(timestamptz, timestamptz, text)")
    op.execute(sa.text(text.replace(":", r"\:")))
