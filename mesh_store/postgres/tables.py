"""Every table on one MetaData; importing this module is what makes it complete."""

from __future__ import annotations

import importlib.util

from mesh_store.postgres import history_tables, limit_tables, people_tables, routing_tables
from mesh_store.postgres.base import metadata

if importlib.util.find_spec("mesh_store.postgres.usage_tables") is not None:
    importlib.import_module("mesh_store.postgres.usage_tables")

__all__ = ["history_tables", "limit_tables", "metadata", "people_tables", "routing_tables"]
