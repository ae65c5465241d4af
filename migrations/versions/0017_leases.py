"""Limits of which no slice is taken ahead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("limits", sa.Column("lease", sa.Boolean, server_default=sa.text("true"), nullable=False))


def downgrade() -> None:
    op.drop_column("limits", "lease")
