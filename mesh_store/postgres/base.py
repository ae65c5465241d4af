"""What every table shares: one MetaData, names of constraints, columns with a meaning."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, FetchedValue, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Alembic compares constraints by name, so every name is derived, never the server's choice.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

#: A UUIDv7 made by the client, text on this side.
Id = Annotated[str, mapped_column(Uuid(as_uuid=False), primary_key=True)]
Ref = Annotated[str, mapped_column(Uuid(as_uuid=False))]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Document = Annotated[dict[str, Any], mapped_column(JSONB, server_default=text("'{}'::jsonb"))]
Texts = Annotated[list[str], mapped_column(ARRAY(Text))]


class Base(DeclarativeBase):
    """The declarative base of every table, usage included."""

    metadata = metadata
    type_annotation_map = {str: Text, int: BigInteger, datetime: DateTime(timezone=True)}  # noqa: RUF012


class Revised:
    """Columns of whatever an operator changes.

    ``revision`` counts the changes of this row (a trigger raises it, so a change made with psql
    counts too); two operators who both read revision 3 cannot both write revision 4.
    """

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    created_at: Mapped[CreatedAt] = mapped_column(sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), server_onupdate=FetchedValue(), sort_order=91
    )
    revision: Mapped[int] = mapped_column(
        server_default=text("1"), server_onupdate=FetchedValue(), sort_order=92
    )


class Tracked(Revised):
    """What is archived instead of deleted: history and facts go on naming it."""

    archived_at: Mapped[Timestamp | None] = mapped_column(sort_order=93)


def name_check(column: str = "name", *, also: str = "") -> CheckConstraint:
    """Refuse a name that `mesh_store.model.ids` would refuse, lower case included."""
    return CheckConstraint(rf"{column} ~ '^[a-z0-9][a-z0-9._/{also}-]{{0,127}}$'", name=f"{column}_form")


def alias_name_check() -> CheckConstraint:
    """Refuse what is neither a name nor a pattern that ends in ``/*``."""
    return CheckConstraint(
        "name ~ '^[a-z0-9][a-z0-9._/-]{0,127}$' OR name ~ '^[a-z0-9][a-z0-9._/-]{0,125}/[*]$'",
        name="name_form",
    )


def json_object_check(column: str) -> CheckConstraint:
    """Refuse JSON that is not an object."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")
