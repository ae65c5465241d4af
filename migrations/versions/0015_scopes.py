"""A key that is confined to some aliases opens the secrets behind these alone."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0015_scopes.sql"

#: 0013 knows one data key a team: those of confined keys are retired, and all keys take the team's.
FORGET_SCOPES = "UPDATE team_data_keys SET retired_at = COALESCE(retired_at, now()) WHERE scope IS NOT NULL"


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute(FORGET_SCOPES)
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.execute("DELETE FROM sealing_state")
    op.drop_column("sealing_state", "reach")
    op.drop_index("ix_keys_confined", "keys")
    op.drop_column("key_secrets", "held")
    op.drop_index("uq_team_data_keys_present_scope", "team_data_keys")
    op.drop_index("uq_team_data_keys_present", "team_data_keys")
    op.drop_column("team_data_keys", "scope")
    op.create_index(
        "uq_team_data_keys_present",
        "team_data_keys",
        ["team_id"],
        unique=True,
        postgresql_where="retired_at IS NULL",
    )
