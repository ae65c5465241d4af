"""Aliases that are patterns, and targets that take a share of the calls."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0009_patterns.sql"

#: What 0008 cannot hold goes: patterns are out of use, under a name it takes, with their limits.
FORGET_LIMITS = """
    UPDATE limits SET archived_at = now()
    WHERE archived_at IS NULL AND alias_id IN (SELECT id FROM aliases WHERE name LIKE '%*')
"""
FORGET_ALIASES = """
    UPDATE aliases SET archived_at = COALESCE(archived_at, now()), name = rtrim(name, '*')
    WHERE name LIKE '%*'
"""


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    op.execute(FORGET_LIMITS)
    op.execute(FORGET_ALIASES)
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.drop_column("targets", "canary")
    op.drop_constraint("ck_aliases_name_form", "aliases")
    op.execute(
        "ALTER TABLE aliases ADD CONSTRAINT ck_aliases_name_form"
        " CHECK (name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$')"
    )
