"""Sums per hour and day of a team without its users and keys, and functions that read them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
TABLES = ("usage_rollups", "adjustment_rollups")
GRAINS = ("minute", "hour", "day")
APART = ("team hour", "team day")
#: A span's reader, and how the one without users and keys is called.
READERS = {
    "usage_between(timestamptz, timestamptz, text)": ("usage_between", "usage_of_teams_between"),
    "usage_drawn(timestamptz, timestamptz)": ("usage_drawn", "usage_of_teams_drawn"),
}
GRAIN = "usage_grain(since, until)"
BUCKETS = range(1, 21)


def upgrade() -> None:
    for table in TABLES:
        _check(table, (*GRAINS, *APART))
        for grain in APART:
            full = " WITH (fillfactor = 70)" if table == "usage_rollups" else ""
            op.execute(
                f"CREATE TABLE {table}_{grain.replace(' ', '_')} PARTITION OF {table}"
                f" FOR VALUES IN ('{grain}'){full}"
            )
    statements = split_statements((SQL / "0023_teams_apart.sql").read_text("utf-8"))
    for name in ("latency", "ttft"):
        sums = ", ".join(f"sum({name}[{bucket}])" for bucket in BUCKETS)
        statements["used_so_far"] = statements["used_so_far"].replace(f"{{{name}}}", sums)
    for statement in statements.values():
        op.execute(statement)
    for signature, (name, apart) in READERS.items():
        asked = sa.text("SELECT pg_get_functiondef(CAST(:reader AS regprocedure))")
        text = op.get_bind().execute(asked, {"reader": signature}).scalar_one()
        text = text.replace(f".{name}(", f".{apart}(")
        for grain in ("hour", "day"):
            text = text.replace(f"grain = '{grain}'", f"grain = 'team {grain}'")
        # Minutes are few in what is drawn by the minute; they are not kept apart.
        drawn = f"CASE {GRAIN} WHEN 'minute' THEN 'minute' ELSE 'team ' || {GRAIN} END"
        text = text.replace(f"grain = {GRAIN}", f"grain = {drawn}")
        op.execute(sa.text(text.replace(":", r"\:")))


def downgrade() -> None:
    for signature, (name, apart) in READERS.items():
        op.execute(f"DROP FUNCTION {signature.replace(name, apart)}")
    before = split_statements((SQL / "0021_adjustments_rolled.sql").read_text("utf-8"))["roll"]
    op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    for table in TABLES:
        for grain in APART:
            op.drop_table(f"{table}_{grain.replace(' ', '_')}")
        _check(table, GRAINS)


def _check(table: str, grains: tuple[str, ...]) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_grain_known")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_grain_known CHECK (grain IN {grains})")
