"""Which budgets Redis was told of before callers were."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0020_opened_budgets.sql"


def upgrade() -> None:
    op.create_table(
        "opened_budgets",
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("limit_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("tag", "limit_id", name=op.f("pk_opened_budgets")),
        sa.ForeignKeyConstraint(
            ["limit_id"], ["limits.id"], name=op.f("fk_opened_budgets_limit_id_limits"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_opened_budgets_limit_id"), "opened_budgets", ["limit_id"])
    fill = split_statements(SQL.read_text("utf-8"))["fill"]
    op.execute(sa.text(fill.replace(":", r"\:")))


def downgrade() -> None:
    op.drop_table("opened_budgets")
