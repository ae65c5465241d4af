"""Re-pricing has sums of its own, which are kept as long as those of facts; spans are read faster."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
BEFORE = "usage_between(timestamptz, timestamptz, text)"

#: Not before it, the coarser grain has whole rows; not from it on, either.
FIRST_DAY, FIRST_HOUR = "usage_ceiling('day', since)", "usage_ceiling('hour', since)"
END = "usage_upper(until)"
LAST_DAY, LAST_HOUR = f"usage_floor('day', {END})", f"usage_floor('hour', {END})"
NO_DAYS = f"CASE WHEN coarsest = 'day' THEN {FIRST_DAY} ELSE 'infinity' END"
NO_HOURS = f"CASE WHEN coarsest = 'minute' THEN 'infinity' ELSE {FIRST_HOUR} END"
FIRST_MINUTE = "usage_floor('minute', coalesce(since, '-infinity'))"
#: Whole days, hours before and after them, minutes before and after those: grain, coarsest, from, to.
BETWEEN = (
    ("day", "= 'day'", FIRST_DAY, LAST_DAY),
    ("hour", "<> 'minute'", FIRST_HOUR, f"least({LAST_HOUR}, {NO_DAYS})"),
    ("hour", "= 'day'", f"greatest({FIRST_DAY}, {LAST_DAY})", LAST_HOUR),
    ("minute", "IS NOT NULL", FIRST_MINUTE, f"least(coalesce({END}, 'infinity'), {NO_HOURS})"),
    ("minute", "<> 'minute'", f"greatest({FIRST_HOUR}, {LAST_HOUR})", f"coalesce({END}, 'infinity')"),
)


def upgrade() -> None:
    op.execute(f"DROP FUNCTION {BEFORE}")
    statements = split_statements((SQL / "0021_adjustments_rolled.sql").read_text("utf-8"))
    sources = statements.pop("used"), statements.pop("adjusted")
    spans = [
        f"grain = '{grain}' AND coarsest {coarsest} AND starts_at >= (SELECT {first})"
        f" AND starts_at < (SELECT {end})"
        for grain, coarsest, first, end in BETWEEN
    ]
    drawn = statements.pop("drawn")
    rows = {
        "sums": sources,
        "between": [f"{source} WHERE {span}" for span in spans for source in sources],
        "drawn": [f"{source} WHERE {drawn}" for source in sources],
    }
    text = {f"{{{name}}}": "\nUNION ALL\n".join(parts) for name, parts in rows.items()}
    for statement in statements.values():
        op.execute(sa.text(re.sub(r"{\w+}", lambda found: text[found[0]], statement).replace(":", r"\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION usage_drawn(timestamptz, timestamptz)")
    op.execute(f"DROP FUNCTION {BEFORE}")
    op.execute("DROP FUNCTION usage_upper(timestamptz)")
    op.execute("DROP VIEW usage_sums")
    op.execute("DROP TRIGGER roll_adjustments ON adjustments")
    op.execute("DROP FUNCTION roll_adjustments()")
    op.drop_table("adjustment_rollups")
    _read_spans_as_before()


def _read_spans_as_before() -> None:
    columns = op.get_bind().execute(
        sa.text(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'usage_rollups'::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attname = 'shadow_denied', attnum"
        )
    )
    types = {row.attname: row.format_type for row in columns}
    text = split_statements((SQL / "0008_hours.sql").read_text("utf-8"))["usage_between"]
    text = text.replace("{types}", ", ".join(f"{name} {kind}" for name, kind in types.items()))
    text = text.replace("{columns}", ", ".join(types))
    text = text.replace("started_at\nFROM adjustments", "started_at, 0\nFROM adjustments")
    op.execute(sa.text(text.replace(":", r"\:")))
