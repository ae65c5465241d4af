"""Configuration on its way: published from Postgres to Redis, followed into each process and to disk.

Callers import `Subscriber` from here; whoever publishes imports `mesh_store.sync.publisher`. The names load
on first use: a publisher, too, is in this package, and an operator's listing needs neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_store.sync.keys import KeyCache
    from mesh_store.sync.subscriber import Status, Subscriber

__all__ = ["KeyCache", "Status", "Subscriber"]

_ROOMS = {"KeyCache": "keys", "Status": "subscriber", "Subscriber": "subscriber"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value
