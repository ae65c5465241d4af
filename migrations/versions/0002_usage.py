"""Usage: facts, rollups, dead letters and the ledger of budgets."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0002_usage.sql"


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    for table in ("budget_settlements", "budget_windows", "telemetry_dead", "usage_rollups", "usage_events"):
        op.drop_table(table)
