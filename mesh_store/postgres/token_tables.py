"""Who may use the control plane's API: admin tokens."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import Base, Ref, Revised, Timestamp


class TokenRow(Revised, Base):
    """An admin token, by its digest.

    Callers never learn of tokens, so a change of one raises no revision; the audit log has it.
    """

    __tablename__ = "admin_tokens"
    __table_args__ = (
        CheckConstraint("id ~ '^[0-9A-Za-z]{8}$'", name="id_form"),
        CheckConstraint("role IN ('admin', 'team-admin', 'viewer')", name="role_known"),
        CheckConstraint("role <> 'team-admin' OR team_id IS NOT NULL", name="team_admin_has_team"),
        CheckConstraint("role <> 'admin' OR team_id IS NULL", name="admin_has_no_team"),
        CheckConstraint("char_length(description) <= 1000", name="description_length"),
        CheckConstraint("octet_length(digest) = 32", name="digest_length"),
        CheckConstraint("last_four ~ '^[0-9A-Za-z]{4}$'", name="last_four_form"),
        Index("uq_admin_tokens_digest", "digest", unique=True),
        Index("ix_admin_tokens_team_id", "team_id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    role: Mapped[str]
    team_id: Mapped[Ref | None] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))
    description: Mapped[str] = mapped_column(server_default=text("''"))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    last_four: Mapped[str]
    expires_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]
