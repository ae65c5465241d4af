"""The audit log may lose its oldest rows, and nothing else."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0014_history.sql"
REASON = "the audit log is only ever appended to"


def upgrade() -> None:
    op.execute("DROP TRIGGER audit_log_kept ON audit_log")
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP INDEX ix_changes_at")
    op.execute("DROP INDEX ix_telemetry_dead_at")
    op.execute("DROP TRIGGER audit_log_kept ON audit_log")
    op.execute("DROP TRIGGER audit_log_pruned ON audit_log")
    op.execute("DROP FUNCTION mesh_refuse_young()")
    op.execute(
        "CREATE TRIGGER audit_log_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
        f" FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('{REASON}')"
    )
