"""Control: teams, users, keys, providers, aliases, limits, prices, and the order of their changes."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from mesh_store.model.ids import new_id
from mesh_store.postgres.statements import split_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

TABLES = (
    "limits",
    "prices",
    "targets",
    "alias_grants",
    "aliases",
    "providers",
    "key_secrets",
    "keys",
    "members",
    "users",
    "teams",
    "audit_log",
    "changes",
    "revisions",
)

#: table → its kind, then the column(s) that make its id; each change raises the revision.
RECORDED = {
    "teams": ("team", "id"),
    "users": ("user", "id"),
    "members": ("member", "team_id", "user_id"),
    "providers": ("provider", "id"),
    "aliases": ("alias", "id"),
    "alias_grants": ("grant", "alias_id", "team_id"),
    "targets": ("target", "id"),
    "prices": ("price", "id"),
    "limits": ("limit", "id"),
}

#: What changes a key; not `keys_revision`, which the trigger itself writes.
KEY_COLUMNS = "team_id, user_id, description, aliases, expires_at, revoked_at, metadata, updated_at"

KEPT = {
    "audit_log": ("UPDATE OR DELETE OR TRUNCATE", "the audit log is only ever appended to"),
    "keys": ("DELETE OR TRUNCATE", "revoke the key; its digest must stay known as revoked"),
    "key_secrets": ("DELETE OR TRUNCATE", "revoke the key; its digest must stay known as revoked"),
}


def upgrade() -> None:
    for file in ("0001_tables.sql", "0001_triggers.sql"):
        for statement in split_statements((SQL / file).read_text("utf-8")).values():
            op.execute(sa.text(statement.replace(":", r"\:")))
    op.execute(
        sa.text("INSERT INTO revisions (epoch) VALUES (:epoch)").bindparams(
            sa.bindparam("epoch", new_id(), sa.Uuid(as_uuid=False))
        )
    )
    for table, arguments in RECORDED.items():
        _trigger_recording(table, "INSERT OR UPDATE OR DELETE", "mesh_record_change", arguments)
    _trigger_recording("keys", f"INSERT OR UPDATE OF {KEY_COLUMNS}", "mesh_record_key_change", ("id",))
    _trigger_recording("key_secrets", "INSERT OR UPDATE", "mesh_record_key_change", ("key_id",))
    for table in ("teams", "users", "members", "providers", "aliases", "prices", "limits"):
        _trigger_raising(table, "UPDATE")
    _trigger_raising("keys", f"UPDATE OF {KEY_COLUMNS}")
    for table, (operations, reason) in KEPT.items():
        op.execute(
            f"CREATE TRIGGER {table}_kept BEFORE {operations} ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION mesh_refuse('{reason}')"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    for function in ("record_change", "record_key_change", "raise_row_revision", "refuse"):
        op.execute(f"DROP FUNCTION mesh_{function}()")
    op.execute("DROP FUNCTION mesh_take_revision(text)")


def _trigger_recording(table: str, operations: str, function: str, arguments: tuple[str, ...]) -> None:
    quoted = ", ".join(f"'{argument}'" for argument in arguments)
    op.execute(
        f"CREATE CONSTRAINT TRIGGER {table}_recorded AFTER {operations} ON {table}"
        f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {function}({quoted})"
    )


def _trigger_raising(table: str, operations: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_raised BEFORE {operations} ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION mesh_raise_row_revision()"
    )
