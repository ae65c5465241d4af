"""Every table on one MetaData; importing this module is what makes it complete."""

from __future__ import annotations

import importlib.util

from sqlalchemy import and_
from sqlalchemy.orm import relationship

from mesh_store.postgres import (
    history_tables,
    limit_tables,
    people_tables,
    price_versions,
    routing_tables,
    sample_tables,
    secret_tables,
    token_tables,
)
from mesh_store.postgres.base import Base, metadata

if importlib.util.find_spec("mesh_store.postgres.usage_tables") is not None:
    importlib.import_module("mesh_store.postgres.usage_tables")

__all__ = [
    "history_tables",
    "limit_tables",
    "metadata",
    "people_tables",
    "price_versions",
    "routing_tables",
    "sample_tables",
    "secret_tables",
    "token_tables",
]


def _write_parents_first() -> None:
    """Let rows that are flushed together follow their foreign keys.

    The unit of work orders classes by their relationships alone, else by name. These are never loaded
    (``raise``), so that no attribute can start a query behind anybody's back.
    """
    classes = {mapper.local_table: mapper for mapper in Base.registry.mappers}
    for table, mapper in classes.items():
        constraints = getattr(table, "foreign_key_constraints", ())
        for constraint in constraints:
            pairs = [(key.parent, key.column) for key in constraint.elements]
            order = relationship(
                classes[constraint.referred_table],
                primaryjoin=and_(*(ours == theirs for ours, theirs in pairs)),
                foreign_keys=[ours for ours, _ in pairs],
                lazy="raise",
                overlaps=",".join(f"after_{other.name}" for other in constraints),
            )
            mapper.add_property(f"after_{constraint.name}", order)


_write_parents_first()
