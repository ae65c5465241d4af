"""The first moments of spans are constants to the planner: it knows how many rows lie behind them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
READERS = ("usage_between(timestamptz, timestamptz, text)", "usage_drawn(timestamptz, timestamptz)")
#: Bounds the planner has to know; of most others it may guess.
BOUNDS = (
    (">=", "usage_ceiling('day', since)"),
    (">=", "usage_ceiling('hour', since)"),
    (">=", "usage_floor('minute', coalesce(since, '-infinity'))"),
    (">=", "usage_floor(usage_grain(since, until), since)"),
    ("<", "usage_floor('day', usage_upper(until))"),
)


def upgrade() -> None:
    for statement in split_statements((SQL / "0022_spans_are_constants.sql").read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))
    _read({f"starts_at {than} (SELECT {bound})": f"starts_at {than} {bound}" for than, bound in BOUNDS})


def downgrade() -> None:
    _read({f"starts_at {than} {bound}": f"starts_at {than} (SELECT {bound})" for than, bound in BOUNDS})
    before = split_statements((SQL / "0008_hours.sql").read_text("utf-8"))
    for name in ("usage_floor", "usage_ceiling"):
        statement = before[name].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        op.execute(sa.text(statement.replace(":", r"\:")))


def _read(changes: dict[str, str]) -> None:
    for reader in READERS:
        asked = sa.text("SELECT pg_get_functiondef(CAST(:reader AS regprocedure))")
        text = op.get_bind().execute(asked, {"reader": reader}).scalar_one()
        for before, after in changes.items():
            text = text.replace(before, after)
        op.execute(sa.text(text.replace(":", r"\:")))
