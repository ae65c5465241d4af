"""Governed calls from LiteLLM: `install`, then ``litellm.completion(model="mesh/<alias>", …)``.

litellm itself is imported by `install`, or when one of the other names is first used: it takes
seconds and 175 MiB, and nobody should pay for it by importing this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mesh_plugins.hosts.litellm.installation import install, uninstall

if TYPE_CHECKING:
    from mesh_plugins.hosts.litellm.errors import (
        LiteLLMAccessDenied,
        LiteLLMBudgetExceeded,
        LiteLLMConfigError,
        LiteLLMConfigUnavailable,
        LiteLLMInvalidKey,
        LiteLLMQuotaExceeded,
        LiteLLMQuotaUnavailable,
        LiteLLMUnknownAlias,
    )
    from mesh_plugins.hosts.litellm.logger import MeshLogger

__all__ = [
    "LiteLLMAccessDenied",
    "LiteLLMBudgetExceeded",
    "LiteLLMConfigError",
    "LiteLLMConfigUnavailable",
    "LiteLLMInvalidKey",
    "LiteLLMQuotaExceeded",
    "LiteLLMQuotaUnavailable",
    "LiteLLMUnknownAlias",
    "MeshLogger",
    "install",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'logger' if name == 'MeshLogger' else 'errors'}"), name)
