"""Who calls: teams, users, members, and the keys they call with."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import Base, CreatedAt, Id, Ref, Revised, Texts, Timestamp, Tracked, name_check
from mesh_store.postgres.base import json_object_check as object_check

LIVE = text("archived_at IS NULL")


class TeamRow(Tracked, Base):
    """A team; its name may be used again once it is archived."""

    __tablename__ = "teams"
    __table_args__ = (
        name_check(),
        CheckConstraint("char_length(description) <= 1000", name="description_length"),
        Index("uq_teams_live_name", "name", unique=True, postgresql_where=LIVE),
        object_check("metadata"),
        CheckConstraint("content IN ('off', 'samples')", name="content_known"),
        CheckConstraint("content_share > 0 AND content_share <= 1", name="content_share_in_range"),
        CheckConstraint("content_days BETWEEN 1 AND 3650", name="content_days_in_range"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    attributes: Mapped[dict[str, object]] = mapped_column(
        "metadata", JSONB, server_default=text("'{}'::jsonb")
    )
    content: Mapped[str] = mapped_column(server_default=text("'off'"))
    content_share: Mapped[float] = mapped_column(Double, server_default=text("1"))
    content_days: Mapped[int] = mapped_column(Integer, server_default=text("7"))


class UserRow(Tracked, Base):
    """A person or a service; the name may be an e-mail address."""

    __tablename__ = "users"
    __table_args__ = (
        name_check(also="@+"),
        CheckConstraint("char_length(description) <= 1000", name="description_length"),
        Index("uq_users_live_name", "name", unique=True, postgresql_where=LIVE),
        object_check("metadata"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    attributes: Mapped[dict[str, object]] = mapped_column(
        "metadata", JSONB, server_default=text("'{}'::jsonb")
    )


class MemberRow(Tracked, Base):
    """A user's membership of a team; it is archived, and comes back to life, but never deleted."""

    __tablename__ = "members"
    __table_args__ = (CheckConstraint("role IN ('member', 'admin')", name="role_known"),)

    team_id: Mapped[Ref] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"), primary_key=True)
    user_id: Mapped[Ref] = mapped_column(
        ForeignKey("users.id", ondelete="RESTRICT"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(server_default=text("'member'"))


class KeyRow(Revised, Base):
    """A caller's key by its permanent id; limits hang on the id, secrets come and go.

    ``keys_revision`` is stamped at commit by a trigger; publishers read what is newer than theirs.
    """

    __tablename__ = "keys"
    __table_args__ = (
        # A key with a user belongs to a member of the team, whatever code wrote it.
        ForeignKeyConstraint(
            ["team_id", "user_id"], ["members.team_id", "members.user_id"], ondelete="RESTRICT"
        ),
        CheckConstraint("id ~ '^[0-9A-Za-z]{8}$'", name="id_form"),
        CheckConstraint("char_length(description) <= 1000", name="description_length"),
        CheckConstraint("aliases IS NULL OR cardinality(aliases) BETWEEN 1 AND 1000", name="aliases_count"),
        object_check("metadata"),
        Index("ix_keys_team_id_user_id", "team_id", "user_id"),
        Index("ix_keys_keys_revision", "keys_revision"),
        Index(
            "ix_keys_confined",
            "keys_revision",
            postgresql_where=text("aliases IS NOT NULL AND revoked_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    team_id: Mapped[Ref] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))
    user_id: Mapped[Ref | None]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    aliases: Mapped[Texts | None]
    expires_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]
    attributes: Mapped[dict[str, object]] = mapped_column(
        "metadata", JSONB, server_default=text("'{}'::jsonb")
    )
    keys_revision: Mapped[int] = mapped_column(server_default=text("0"))


class KeySecretRow(Base):
    """One secret of a key; several are good at once only while a rotation overlaps.

    ``trust`` is derived from the key's text when it is minted. It lets the control plane prove to the
    caller, on first contact, that it is the one who minted the key; it opens nothing. ``sealing_public``
    is the public half of the same text; ``data_key_id`` names the newest data key sealed to it, and
    stays what it was once the secret is revoked or has ended. ``held`` are those before, from the moment
    on that the key was confined to some aliases.
    """

    __tablename__ = "key_secrets"
    __table_args__ = (
        CheckConstraint("octet_length(digest) = 32", name="digest_length"),
        CheckConstraint("octet_length(trust) = 32", name="trust_length"),
        CheckConstraint("octet_length(sealing_public) = 32", name="sealing_public_length"),
        CheckConstraint("last_four ~ '^[0-9A-Za-z]{4}$'", name="last_four_form"),
        # At most one secret has no end of its own; the others are being rotated out.
        Index("uq_key_secrets_current", "key_id", unique=True, postgresql_where=text("expires_at IS NULL")),
        Index("ix_key_secrets_key_id", "key_id"),
        Index("ix_key_secrets_data_key_id", "data_key_id"),
    )

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id", ondelete="RESTRICT"))
    trust: Mapped[bytes | None] = mapped_column(LargeBinary)
    last_four: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Timestamp | None]
    sealing_public: Mapped[bytes | None] = mapped_column(LargeBinary)
    data_key_id: Mapped[Ref | None] = mapped_column(ForeignKey("team_data_keys.id", ondelete="RESTRICT"))
    held: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)), server_default=text("'{}'"))
