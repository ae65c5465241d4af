"""The truth: tables, the repository of control entities, audit, usage, and running migrations.

Only control-plane code imports this package; a caller's process never does.
"""

from mesh_store.postgres.database import Database, Head

__all__ = ["Database", "Head"]
