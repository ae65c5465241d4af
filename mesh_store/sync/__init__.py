"""Configuration on its way: published from Postgres to Redis, followed into each process and to disk.

Callers import `Subscriber` from here; whoever publishes imports `mesh_store.sync.publisher`.
"""

from mesh_store.sync.keys import KeyCache
from mesh_store.sync.subscriber import Status, Subscriber

__all__ = ["KeyCache", "Status", "Subscriber"]
