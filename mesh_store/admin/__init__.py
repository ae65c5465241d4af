"""What an operator does: change the truth in Postgres and let callers follow at once."""

from mesh_store.admin.admin import Admin

__all__ = ["Admin"]
