"""Limits on keys come with their keys, not with the snapshot."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0010_key_limits.sql"


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP TRIGGER limits_recorded ON limits")
    op.execute("DROP FUNCTION mesh_record_limit_change()")
    op.execute(
        "CREATE CONSTRAINT TRIGGER limits_recorded AFTER INSERT OR UPDATE OR DELETE ON limits"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mesh_record_change('limit', 'id')"
    )
    # Back into the snapshot.
    op.execute(
        "SELECT mesh_take_revision('config') WHERE EXISTS (SELECT 1 FROM limits WHERE key_id IS NOT NULL)"
    )
