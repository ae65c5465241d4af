"""What the ledger of budgets counts without a stored fact is kept apart from what the facts add up to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    untold = sa.Column("untold_pico_usd", sa.Numeric, nullable=False, server_default="0")
    op.add_column("budget_windows", untold)


def downgrade() -> None:
    op.drop_column("budget_windows", "untold_pico_usd")
