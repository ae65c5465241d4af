"""The order in which publishers' keys followed one another outlives Redis."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "publisher_handovers",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("old", sa.LargeBinary, nullable=False),
        sa.Column("new", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publisher_handovers")),
        sa.CheckConstraint(
            "octet_length(old) = 32 AND octet_length(new) = 32 AND octet_length(signature) = 64",
            name=op.f("ck_publisher_handovers_lengths"),
        ),
    )


def downgrade() -> None:
    op.drop_table("publisher_handovers")
