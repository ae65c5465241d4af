"""Secrets: providers' stored secrets, teams' data keys, and accounts of a team's own."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.postgres.statements import split_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql" / "0004_secrets.sql"

#: What 0003 cannot hold goes: secrets it cannot refer to, and accounts it would take for everybody's.
FORGET = (
    "UPDATE providers SET secret = NULL WHERE secret::text ~ 'sealed:' OR secret -> 'federated' IS NOT NULL",
    "UPDATE providers SET archived_at = now() WHERE team_id IS NOT NULL AND archived_at IS NULL",
)

OLD_REFERENCES = """
    secret IS NULL
    OR (jsonb_typeof(secret) = 'string' AND secret #>> '{}' ~ '^(env|file):.')
    OR (jsonb_typeof(secret) = 'object'
    AND NOT jsonb_path_exists(secret,
    '$.* ? (@.type() != "string" || !(@ like_regex "^(env|file):."))'))
"""


def upgrade() -> None:
    for statement in split_statements(SQL.read_text("utf-8")).values():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    for statement in FORGET:
        op.execute(sa.text(statement.replace(":", r"\:")))
    op.drop_constraint("ck_providers_secret_reference", "providers")
    op.execute(
        sa.text(
            "ALTER TABLE providers ADD CONSTRAINT ck_providers_secret_reference"
            f" CHECK ({OLD_REFERENCES})".replace(":", r"\:")
        )
    )
    op.drop_index("uq_providers_live_team_name", "providers")
    op.drop_index("uq_providers_live_name", "providers")
    op.drop_column("providers", "team_id")
    op.create_index(
        "uq_providers_live_name", "providers", ["name"], unique=True, postgresql_where="archived_at IS NULL"
    )
    op.drop_column("key_secrets", "data_key_id")
    op.drop_column("key_secrets", "sealing_public")
    op.drop_table("sealing_state")
    op.drop_table("team_data_keys")
    op.drop_table("provider_secrets")
