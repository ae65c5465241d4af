"""What is stored of providers' secrets: sealed under MESH_SECRET_KEY, useless without it."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import Base, CreatedAt, Id, Ref, Texts, Timestamp


class ProviderSecretRow(Base):
    """A provider's secret, bound to the address it may be sent to.

    Attributes:
        version: counts how often it was set.
        address: what it was sealed for; if the provider has another one by now, it does not open.
        labels: names of its values.
        sealed: the values, sealed under the master.
        master: which master.
    """

    __tablename__ = "provider_secrets"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_range"),
        CheckConstraint("cardinality(labels) BETWEEN 1 AND 50", name="labels_count"),
        CheckConstraint("octet_length(sealed) BETWEEN 16 AND 131072", name="sealed_length"),
    )

    provider_id: Mapped[Ref] = mapped_column(
        ForeignKey("providers.id", ondelete="RESTRICT"), primary_key=True
    )
    version: Mapped[int]
    address: Mapped[str]
    labels: Mapped[Texts]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    master: Mapped[str]
    set_at: Mapped[CreatedAt]


class DataKeyRow(Base):
    """A data key; the present one has no end, the one before is kept until the next comes.

    Attributes:
        scope: providers that alone it is for, held by keys whose aliases lead to exactly these; NULL is the
            team's own, for all it may use.
        sealed: the key, sealed under the master; NULL once no published document needs it any more.
        covers: providers whose secrets were ever sealed under it: what its holders may have seen.
    """

    __tablename__ = "team_data_keys"
    __table_args__ = (
        CheckConstraint("sealed IS NOT NULL OR retired_at IS NOT NULL", name="present_is_kept"),
        CheckConstraint("scope = covers", name="scope_is_covered"),
        Index(
            "uq_team_data_keys_present",
            "team_id",
            unique=True,
            postgresql_where=text("retired_at IS NULL AND scope IS NULL"),
        ),
        Index(
            "uq_team_data_keys_present_scope",
            "team_id",
            "scope",
            unique=True,
            postgresql_where=text("retired_at IS NULL AND scope IS NOT NULL"),
        ),
        Index("ix_team_data_keys_team_id", "team_id"),
    )

    id: Mapped[Id]
    team_id: Mapped[Ref] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    master: Mapped[str]
    covers: Mapped[list[str]] = mapped_column(ARRAY(Uuid(as_uuid=False)))
    created_at: Mapped[CreatedAt]
    retired_at: Mapped[Timestamp | None]
    scope: Mapped[list[str] | None] = mapped_column(ARRAY(Uuid(as_uuid=False)))


class HandoverRow(Base):
    """A publisher's word that another key speaks for it from now on; in the order in which it was given.

    Attributes:
        old, new: public keys of the publisher before and after.
        signature: by the old one; see `mesh_store.model.signing.Handover`.
    """

    __tablename__ = "publisher_handovers"
    __table_args__ = (
        CheckConstraint(
            "octet_length(old) = 32 AND octet_length(new) = 32 AND octet_length(signature) = 64",
            name="lengths",
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    old: Mapped[bytes] = mapped_column(LargeBinary)
    new: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[CreatedAt]


class SealingStateRow(Base):
    """Up to where data keys were brought up to date, so that the next look is at what changed since.

    Attributes:
        revision, keys_revision: changes up to these were looked at.
        next_end: when the next key ends whose holder has a present data key.
        reach: stands for which alias led to which stored secret then.
    """

    __tablename__ = "sealing_state"
    __table_args__ = (CheckConstraint("id", name="single_row"),)

    id: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    revision: Mapped[int]
    keys_revision: Mapped[int]
    next_end: Mapped[Timestamp | None]
    reach: Mapped[str | None]
