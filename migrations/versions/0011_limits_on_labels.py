"""Limits on what callers say of their calls: end users and tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

IDS = ("team_id", "user_id", "key_id", "alias_id", "provider_id", "target_id")
SAID = ("end_user", "tag")


def upgrade() -> None:
    for name in SAID:
        op.add_column("limits", sa.Column(name, sa.Text))
        op.create_check_constraint(f"{name}_length", "limits", f"length({name}) BETWEEN 1 AND 257")
    op.add_column("limits", sa.Column("distinct_values", sa.BigInteger))
    op.create_check_constraint("distinct_values_range", "limits", "distinct_values >= 1")
    words = [f"COALESCE(length({name})::text || ':' || {name}, '')" for name in SAID]
    _subject([*_ids(), *words])


def downgrade() -> None:
    # Without their subject they would bind every call of the team: they go.
    op.execute("DELETE FROM limits WHERE end_user IS NOT NULL OR tag IS NOT NULL")
    _subject(_ids())
    for name in ("distinct_values", *reversed(SAID)):
        op.drop_column("limits", name)


def _ids() -> list[str]:
    return [f"COALESCE({name}::text, '')" for name in IDS]


def _subject(parts: list[str]) -> None:
    op.drop_index("uq_limits_live_subject", "limits")
    op.drop_column("limits", "subject")
    subject = sa.Computed(" || '|' || ".join(parts), persisted=True)
    op.add_column("limits", sa.Column("subject", sa.Text, subject, nullable=False))
    op.create_index(
        "uq_limits_live_subject",
        "limits",
        ["subject", "dimension", "kind", "period_us"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
