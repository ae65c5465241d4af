"""Which sums a span is drawn from: fewer rows, so that a week over many facts is drawn at once."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

DRAWN = """
CREATE OR REPLACE FUNCTION usage_grain(since timestamptz, until timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN until - since > interval '{days}' THEN 'day'
    WHEN until - since > interval '{hours}' THEN 'hour'
    ELSE 'minute'
END
$$
"""


def upgrade() -> None:
    op.execute(DRAWN.format(days="2 days", hours="2 hours"))


def downgrade() -> None:
    op.execute(DRAWN.format(days="7 days", hours="6 hours"))
