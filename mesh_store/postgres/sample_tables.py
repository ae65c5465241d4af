"""What calls of teams that switched samples on asked and were answered, redacted."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Index, Table, Text, Uuid, func

from mesh_store.postgres.base import metadata

content_samples = Table(
    "content_samples",
    metadata,
    Column("fact_id", Uuid(as_uuid=False), primary_key=True),
    Column("call_id", Uuid(as_uuid=False), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("team_id", Text, nullable=False),
    Column("user_id", Text),
    Column("key_id", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("model", Text),
    Column("outcome", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("cut", Boolean, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_content_samples_team_id", "team_id", "at"),
)
