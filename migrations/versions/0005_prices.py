"""Prices through time, and adjustments of what was counted at an older one."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0005_prices.sql"


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP TRIGGER prices_versioned ON prices")
    op.execute("DROP FUNCTION mesh_version_price()")
    op.drop_table("adjustments")
    op.drop_table("price_versions")
    op.drop_column("usage_events", "service")
    op.drop_column("usage_events", "cache_write_1h_tokens")
