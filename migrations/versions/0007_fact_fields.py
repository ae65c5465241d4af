"""Facts say what a call's attempts took together, and which tokens were images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "usage_events"


def upgrade() -> None:
    for name in ("image_input_tokens", "image_output_tokens"):
        op.add_column(TABLE, sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column(TABLE, sa.Column("settled_tokens", sa.BigInteger))
    op.add_column(TABLE, sa.Column("settled_pico_usd", sa.Numeric))


def downgrade() -> None:
    for name in ("settled_pico_usd", "settled_tokens", "image_output_tokens", "image_input_tokens"):
        op.drop_column(TABLE, name)
