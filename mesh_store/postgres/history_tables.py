"""What changed, in which order, and who did it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import Base, CreatedAt, Id, Ref


class RevisionsRow(Base):
    """The one row that orders everything: raised at commit, so its numbers have no gaps.

    ``revision`` counts changes of what snapshots hold, ``keys_revision`` changes of keys. ``epoch``
    is a UUIDv7 that is renewed only after a database was restored from an older copy.
    """

    __tablename__ = "revisions"
    __table_args__ = (CheckConstraint("id", name="single_row"),)

    id: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    epoch: Mapped[Ref]
    revision: Mapped[int] = mapped_column(server_default=text("0"))
    keys_revision: Mapped[int] = mapped_column(server_default=text("0"))


class ChangeRow(Base):
    """That a row changed at a revision; written by triggers, so changes made with psql are here too."""

    __tablename__ = "changes"
    __table_args__ = (
        CheckConstraint("stream IN ('config', 'keys')", name="stream_known"),
        CheckConstraint("action IN ('insert', 'update', 'delete')", name="action_known"),
        Index("ix_changes_stream_revision", "stream", "revision"),
        Index("ix_changes_at", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    stream: Mapped[str]
    revision: Mapped[int]
    kind: Mapped[str]
    entity_id: Mapped[str]
    action: Mapped[str]
    at: Mapped[CreatedAt]


class AuditRow(Base):
    """Who did what: the entity before and after, never a secret. The database refuses to alter it.

    Rows older than 30 days may be pruned; see `mesh_store.postgres.history_retention`.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        CheckConstraint("char_length(actor) BETWEEN 1 AND 200", name="actor_length"),
        Index("ix_audit_log_kind_entity_id", "kind", "entity_id"),
        Index("ix_audit_log_at", "at"),
    )

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    actor: Mapped[str]
    action: Mapped[str]
    kind: Mapped[str]
    entity_id: Mapped[str]
    entity_name: Mapped[str]
    revision: Mapped[int]
    keys_revision: Mapped[int]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
