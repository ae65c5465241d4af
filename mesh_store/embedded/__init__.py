"""Postgres and Valkey for a laptop or a test, with nothing to install, start or stop.

::

    from mesh_store.embedded import attach

    with attach() as engines:
        engines.database_url, engines.redis_url

Every process that attaches to one home shares one pair of servers. The pair is there while somebody
uses it (or :func:`keep` was said) and is gone a moment after the last user ended, however it ended:
a user is a kernel lock, which no death leaves behind. Unix sockets only; no port is ever opened.

::

    user ──lease (flock, shared)──┐
    user ──lease (flock, shared)──┼──► supervisor ──parent of──► postgres, valkey, companions
    user ──lease (flock, shared)──┘    watches the leases; its own death ends its children

The names load on first use: the supervisor is this package too, and has no need of the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_store.embedded.control import keep, release, stop
    from mesh_store.embedded.engines import Engines, attach
    from mesh_store.embedded.status import CompanionStatus, EnginesStatus, ServerStatus, status

__all__ = [
    "CompanionStatus",
    "Engines",
    "EnginesStatus",
    "ServerStatus",
    "attach",
    "keep",
    "release",
    "status",
    "stop",
]

_ROOMS = {
    "attach": "engines",
    "Engines": "engines",
    "keep": "control",
    "release": "control",
    "stop": "control",
    "status": "status",
    "EnginesStatus": "status",
    "ServerStatus": "status",
    "CompanionStatus": "status",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value
