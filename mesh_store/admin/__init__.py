"""What an operator does: change the truth in Postgres and let callers follow at once."""

from mesh_store.admin.admin import Admin
from mesh_store.admin.blocking import BlockingAdmin

__all__ = ["Admin", "BlockingAdmin"]
