"""Where calls go: providers, aliases with their targets and grants, and prices of our own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import (
    Base,
    Document,
    Id,
    Ref,
    Texts,
    Timestamp,
    Tracked,
    alias_name_check,
    name_check,
)
from mesh_store.postgres.base import json_object_check as object_check

LIVE = text("archived_at IS NULL")

#: A provider's secret is only ever a reference, a map of them, or how to get one (``federated``); plain
#: text is refused by the database.
ONLY_REFERENCES = (
    "secret IS NULL"
    " OR (jsonb_typeof(secret) = 'string' AND secret #>> '{}' ~ '^(env|file|sealed):.')"
    " OR (jsonb_typeof(secret) = 'object' AND secret -> 'federated' IS NULL"
    " AND NOT jsonb_path_exists(secret,"
    ' \'$.* ? (@.type() != "string" || !(@ like_regex "^(env|file|sealed):."))\'))'
    " OR (jsonb_typeof(secret -> 'federated') = 'object' AND secret - 'federated' = '{}'::jsonb"
    " AND secret #>> '{federated,token_url}' ~ '^https?://'"
    " AND secret #>> '{federated,subject_token}' ~ '^(env|file):.'"
    " AND coalesce(secret #>> '{federated,client_secret}', 'env:-') ~ '^(env|file):.')"
)


class ProviderRow(Tracked, Base):
    """A vendor account; ``team_id`` makes it one team's own, in place of the global one of its name."""

    __tablename__ = "providers"
    __table_args__ = (
        name_check(),
        CheckConstraint("kind IN ('openai', 'anthropic', 'litellm')", name="kind_known"),
        CheckConstraint("base_url IS NULL OR base_url ~ '^https?://'", name="base_url_form"),
        CheckConstraint(ONLY_REFERENCES, name="secret_reference"),
        object_check("headers"),
        object_check("query"),
        object_check("options"),
        Index(
            "uq_providers_live_name",
            "name",
            unique=True,
            postgresql_where=text("archived_at IS NULL AND team_id IS NULL"),
        ),
        Index(
            "uq_providers_live_team_name",
            "team_id",
            "name",
            unique=True,
            postgresql_where=text("archived_at IS NULL AND team_id IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    name: Mapped[str]
    kind: Mapped[str]
    base_url: Mapped[str | None]
    secret: Mapped[str | dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    headers: Mapped[Document]
    query: Mapped[Document]
    options: Mapped[Document]
    team_id: Mapped[Ref | None] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))


class AliasRow(Tracked, Base):
    """A model name callers use; ``team_id`` makes it one team's own.

    ``everyone`` False means only the teams in ``alias_grants``, which may be none.
    """

    __tablename__ = "aliases"
    __table_args__ = (
        alias_name_check(),
        CheckConstraint("team_id IS NULL OR everyone", name="own_alias_ungranted"),
        CheckConstraint(
            "cardinality(operations) >= 1"
            " AND operations <@ ARRAY['chat', 'embeddings', 'responses', 'text_completion']",
            name="operations_known",
        ),
        CheckConstraint("max_output_tokens BETWEEN 1 AND 1000000000", name="max_output_tokens_range"),
        CheckConstraint("timeout_us BETWEEN 1000 AND 86400000000", name="timeout_us_range"),
        CheckConstraint("char_length(deprecated) BETWEEN 1 AND 1000", name="deprecated_length"),
        object_check("defaults"),
        object_check("forced"),
        # Two indexes, because NULLS NOT DISTINCT came with Postgres 15.
        Index(
            "uq_aliases_live_name",
            "name",
            unique=True,
            postgresql_where=text("archived_at IS NULL AND team_id IS NULL"),
        ),
        Index(
            "uq_aliases_live_team_name",
            "team_id",
            "name",
            unique=True,
            postgresql_where=text("archived_at IS NULL AND team_id IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    team_id: Mapped[Ref | None] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))
    name: Mapped[str]
    operations: Mapped[Texts]
    everyone: Mapped[bool] = mapped_column(server_default=text("true"))
    defaults: Mapped[Document]
    forced: Mapped[Document]
    max_output_tokens: Mapped[int | None]
    timeout_us: Mapped[int] = mapped_column(server_default=text("600000000"))
    deprecated: Mapped[str | None]


class AliasGrantRow(Base):
    """A team that may use an alias which is not for everyone."""

    __tablename__ = "alias_grants"

    alias_id: Mapped[Ref] = mapped_column(ForeignKey("aliases.id", ondelete="CASCADE"), primary_key=True)
    team_id: Mapped[Ref] = mapped_column(
        ForeignKey("teams.id", ondelete="RESTRICT"), primary_key=True, index=True
    )


class TargetRow(Base):
    """A provider's model an alias may resolve to; archived when it leaves the alias, revived with its id."""

    __tablename__ = "targets"
    __table_args__ = (
        CheckConstraint("char_length(model) BETWEEN 1 AND 256", name="model_length"),
        CheckConstraint("tier BETWEEN 1 AND 100", name="tier_range"),
        CheckConstraint("weight BETWEEN 0 AND 1000000", name="weight_range"),
        CheckConstraint("max_output_tokens BETWEEN 1 AND 1000000000", name="max_output_tokens_range"),
        CheckConstraint("context_window BETWEEN 1 AND 1000000000", name="context_window_range"),
        CheckConstraint("canary BETWEEN 0 AND 1000000", name="canary_range"),
        object_check("params"),
        Index(
            "uq_targets_live_alias_id_provider_id_model_tier",
            "alias_id",
            "provider_id",
            "model",
            "tier",
            unique=True,
            postgresql_where=LIVE,
        ),
        Index("ix_targets_provider_id", "provider_id"),
    )

    id: Mapped[Id]
    alias_id: Mapped[Ref] = mapped_column(ForeignKey("aliases.id", ondelete="CASCADE"))
    provider_id: Mapped[Ref] = mapped_column(ForeignKey("providers.id", ondelete="RESTRICT"))
    model: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    tier: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    weight: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    params: Mapped[Document]
    max_output_tokens: Mapped[int | None]
    context_window: Mapped[int | None]
    canary: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    archived_at: Mapped[Timestamp | None]


def _rate() -> Numeric[Decimal]:
    return Numeric(18, 6)


class PriceRow(Tracked, Base):
    """An operator's own price, over the built-in list; USD per million tokens, as vendors print it."""

    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("char_length(model) BETWEEN 1 AND 256", name="model_length"),
        # 'NaN' is greater than every number, so an upper bound refuses it too.
        *(
            CheckConstraint(f"{column} >= 0 AND {column} <= 1000000", name=f"{column}_range")
            for column in ("input", "output", "cache_read", "cache_write", "reasoning", "request")
        ),
        Index("uq_prices_live_provider_id_model", "provider_id", "model", unique=True, postgresql_where=LIVE),
    )

    id: Mapped[Id]
    provider_id: Mapped[Ref] = mapped_column(ForeignKey("providers.id", ondelete="RESTRICT"))
    model: Mapped[str]
    input: Mapped[Decimal] = mapped_column(_rate())
    output: Mapped[Decimal] = mapped_column(_rate())
    cache_read: Mapped[Decimal | None] = mapped_column(_rate())
    cache_write: Mapped[Decimal | None] = mapped_column(_rate())
    reasoning: Mapped[Decimal | None] = mapped_column(_rate())
    request: Mapped[Decimal] = mapped_column(_rate(), server_default=text("0"))
