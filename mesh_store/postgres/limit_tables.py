"""How much: a limit on any combination of team, user, key, alias, provider, target, end user and tag."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from mesh_store.postgres.base import Base, Id, Ref, Tracked

SUBJECTS = ("team_id", "user_id", "key_id", "alias_id", "provider_id", "target_id")
SAID = ("end_user", "tag")


def _subject() -> str:
    """SQL text that is equal exactly for equal subjects, NULLs included; free words carry their length."""
    ids = [f"COALESCE({column}::text, '')" for column in SUBJECTS]
    words = [f"COALESCE(length({column})::text || ':' || {column}, '')" for column in SAID]
    return " || '|' || ".join([*ids, *words])


class LimitRow(Tracked, Base):
    """A limit; all subjects NULL binds every call.

    ``amount`` and ``burst`` are in the dimension's own unit, USD for ``usd``; ``burst`` NULL leaves
    it to the rule of thumb that knows the targets' context windows.
    """

    __tablename__ = "limits"
    __table_args__ = (
        CheckConstraint(
            "dimension IN ('requests', 'input_tokens', 'output_tokens', 'tokens', 'usd', 'concurrency')",
            name="dimension_known",
        ),
        CheckConstraint("kind IN ('rate', 'window', 'slots')", name="kind_known"),
        CheckConstraint("(kind = 'slots') = (dimension = 'concurrency')", name="kind_fits_dimension"),
        CheckConstraint("on_outage IN ('closed', 'share', 'open')", name="on_outage_known"),
        CheckConstraint("on_exhausted IN ('allow', 'cut')", name="on_exhausted_known"),
        # 2^53 - 1 is the largest integer Lua's doubles hold; 'NaN' is above every bound.
        *(
            CheckConstraint(
                f"{column} >= 0 AND {column} <= 9007199254740991"
                f" AND (dimension = 'usd' OR {column} = trunc({column}))",
                name=f"{column}_range",
            )
            for column in ("amount", "burst")
        ),
        CheckConstraint("period_us BETWEEN 1 AND 9007199254740991", name="period_us_range"),
        *(CheckConstraint(f"length({column}) BETWEEN 1 AND 257", name=f"{column}_length") for column in SAID),
        CheckConstraint("distinct_values >= 1", name="distinct_values_range"),
        CheckConstraint("target_id IS NULL OR alias_id IS NOT NULL", name="target_has_alias"),
        Index(
            "uq_limits_live_subject",
            "subject",
            "dimension",
            "kind",
            "period_us",
            unique=True,
            postgresql_where=text("archived_at IS NULL"),
        ),
        *(Index(f"ix_limits_{column}", column) for column in SUBJECTS),
    )

    id: Mapped[Id]
    team_id: Mapped[Ref | None] = mapped_column(ForeignKey("teams.id", ondelete="RESTRICT"))
    user_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("keys.id", ondelete="RESTRICT"))
    alias_id: Mapped[Ref | None] = mapped_column(ForeignKey("aliases.id", ondelete="RESTRICT"))
    provider_id: Mapped[Ref | None] = mapped_column(ForeignKey("providers.id", ondelete="RESTRICT"))
    target_id: Mapped[Ref | None] = mapped_column(ForeignKey("targets.id", ondelete="RESTRICT"))
    end_user: Mapped[str | None]
    tag: Mapped[str | None]
    distinct_values: Mapped[int | None]
    subject: Mapped[str] = mapped_column(Computed(_subject(), persisted=True))
    dimension: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(Numeric(28, 12))
    period_us: Mapped[int]
    burst: Mapped[Decimal | None] = mapped_column(Numeric(28, 12))
    kind: Mapped[str]
    hard: Mapped[bool] = mapped_column(server_default=text("false"))
    on_outage: Mapped[str]
    tz: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    lease: Mapped[bool] = mapped_column(server_default=text("true"))
    enforce: Mapped[bool] = mapped_column(server_default=text("true"))
    on_exhausted: Mapped[str] = mapped_column(server_default=text("'allow'"))


class OpenedBudgetRow(Base):
    """A budget that Redis was told of before callers were; see `mesh_store.postgres.opened_budgets`."""

    __tablename__ = "opened_budgets"

    tag: Mapped[str] = mapped_column(primary_key=True)
    limit_id: Mapped[Ref] = mapped_column(
        ForeignKey("limits.id", ondelete="CASCADE"), primary_key=True, index=True
    )
