"""Sums of each grain in a table of their own: a month of days lies on a few pages, not among its minutes."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KEY = "PRIMARY KEY (grain, starts_at, team_id, user_id, key_id, alias, provider, model)"
GRAINS = ("minute", "hour", "day")
BEFORE = (
    "ALTER TABLE usage_rollups RENAME TO usage_rollups_before",
    "ALTER TABLE usage_rollups_before RENAME CONSTRAINT pk_usage_rollups TO pk_usage_rollups_before",
    "DROP INDEX ix_usage_rollups_key_id",
)
AFTER = (
    f"ALTER TABLE usage_rollups ADD CONSTRAINT pk_usage_rollups {KEY}",
    f"ALTER TABLE usage_rollups ADD CONSTRAINT ck_usage_rollups_grain_known CHECK (grain IN {GRAINS})",
    "CREATE INDEX ix_usage_rollups_key_id ON usage_rollups (key_id, starts_at) WHERE grain = 'day'",
    "INSERT INTO usage_rollups SELECT * FROM usage_rollups_before ORDER BY grain, starts_at",
    "DROP TABLE usage_rollups_before",
)


def upgrade() -> None:
    for statement in (
        *BEFORE,
        "CREATE TABLE usage_rollups (LIKE usage_rollups_before) PARTITION BY LIST (grain)",
        *[
            f"CREATE TABLE usage_rollups_{grain} PARTITION OF usage_rollups FOR VALUES IN ('{grain}')"
            " WITH (fillfactor = 70)"
            for grain in GRAINS
        ],
        *AFTER,
    ):
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        *BEFORE,
        "CREATE TABLE usage_rollups (LIKE usage_rollups_before) WITH (fillfactor = 70)",
        *AFTER,
    ):
        op.execute(statement)
