"""For tests, demos and benchmarks: things that stand in for what costs money.

* `MemoryMesh`        a whole mesh in memory, for tests of code that uses Mesh and of plugins for it
* `MemoryLimiter`     its limiter: decides as the one over Redis does, by a clock a test may turn
* `CannedSender`      its provider: answers what a test says, without a network
* `StandInProvider`   a local server that speaks the OpenAI and Anthropic wire formats over real HTTP
* `Playground`        real engines, a stand-in provider, a team, an alias and a key; gone when it closes
* `pytest_plugin`     fixtures of the first and the fourth, named in a ``conftest.py``

Each loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_plugins.testing.canned import CannedSender
    from mesh_plugins.testing.limiter import MemoryLimiter
    from mesh_plugins.testing.memory import MemoryMesh
    from mesh_plugins.testing.playground import Playground
    from mesh_plugins.testing.provider import StandInProvider

__all__ = ["CannedSender", "MemoryLimiter", "MemoryMesh", "Playground", "StandInProvider"]

_HOMES = {
    "CannedSender": "canned",
    "MemoryLimiter": "limiter",
    "MemoryMesh": "memory",
    "Playground": "playground",
    "StandInProvider": "provider",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
