"""Governance for LLM calls, inside the calling process.

::

    from mesh_plugins import Mesh

    mesh = Mesh.from_env()
    reply = mesh.chat("fast", [{"role": "user", "content": "Hello"}], max_tokens=64)

`Mesh` loads on first use, so that importing this package stays light; hosts are imported by name
(``mesh_plugins.hosts.litellm``, ``mesh_plugins.hosts.langchain``, ``mesh_plugins.hosts.notebook``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mesh_plugins.markers import hookimpl
from mesh_store.model.errors import (
    AccessDenied,
    BudgetExceeded,
    ConfigError,
    ConfigUnavailable,
    Denied,
    InvalidKey,
    MeshError,
    PluginError,
    ProviderError,
    QuotaExceeded,
    QuotaUnavailable,
    Unavailable,
    UnknownAlias,
)

if TYPE_CHECKING:
    from mesh_plugins.mesh import Mesh
    from mesh_plugins.settings import Settings

__all__ = [
    "AccessDenied",
    "BudgetExceeded",
    "ConfigError",
    "ConfigUnavailable",
    "Denied",
    "InvalidKey",
    "Mesh",
    "MeshError",
    "PluginError",
    "ProviderError",
    "QuotaExceeded",
    "QuotaUnavailable",
    "Settings",
    "Unavailable",
    "UnknownAlias",
    "hookimpl",
]

_LAZY = {"Mesh": "mesh_plugins.mesh", "Settings": "mesh_plugins.settings"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
