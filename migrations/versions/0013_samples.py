"""Content samples: which teams switched them on, and the samples themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("teams", sa.Column("content", sa.Text, nullable=False, server_default=sa.text("'off'")))
    op.add_column("teams", sa.Column("content_share", sa.Double, nullable=False, server_default=sa.text("1")))
    op.add_column("teams", sa.Column("content_days", sa.Integer, nullable=False, server_default=sa.text("7")))
    for name, rule in (
        ("content_known", "content IN ('off', 'samples')"),
        ("content_share_in_range", "content_share > 0 AND content_share <= 1"),
        ("content_days_in_range", "content_days BETWEEN 1 AND 3650"),
    ):
        op.execute(f"ALTER TABLE teams ADD CONSTRAINT ck_teams_{name} CHECK ({rule})")
    op.create_table(
        "content_samples",
        sa.Column("fact_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("call_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("team_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("cut", sa.Boolean, nullable=False),
        sa.Column("received_at", MOMENT, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_content_samples_team_id", "content_samples", ["team_id", "at"])


def downgrade() -> None:
    op.drop_table("content_samples")
    for name in ("content_days", "content_share", "content"):
        op.drop_column("teams", name)
