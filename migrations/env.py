"""Alembic's entry: runs on the connection `mesh_store.postgres.migrate` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context

from mesh_store.postgres.tables import metadata


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Hide partitions: no table in code stands for one."""
    partitions = ("usage_events_p", "usage_rollups_", "adjustment_rollups_")
    return not (type_ == "table" and name is not None and name.startswith(partitions))


connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run migrations with `mesh migrate`; Alembic has no connection of its own here")

context.configure(
    connection=connection,
    target_metadata=metadata,
    include_name=include_name,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
