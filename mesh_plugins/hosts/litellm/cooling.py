"""Refusals are no failures of a deployment, for litellm's Router.

Since litellm 1.110 its Router has a core of its own that hears of each failed attempt and cools its
deployment down by the status alone: after a refusal with 429 (a limit), 401 (a key) or 503 (no
configuration) the next call found no deployment, or went to a fallback group that nobody governs. The
status it hears of a refusal is one for which nothing cools down; callers' errors keep theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh_plugins.hosts.litellm.installation import Installation

_CORE, _HEARS = "litellm.router_rust.core", "attempt_failure"
#: "You asked for something that cannot be had": no deployment's fault.
_NO_FAULT = {"status": 400, "status_absent": False, "retry_after": None}


def hearing() -> Iterator[tuple[ModuleType, str, Callable[..., Any]]]:
    """Yield where the Router hears of failures: the module, the function's name, and the function."""
    try:
        core = import_module(_CORE)
    except ModuleNotFoundError:  # an older litellm, whose Router asks what kind of error it is
        return
    hears = getattr(core, _HEARS, None)
    if callable(hears):
        yield core, _HEARS, hears


def unharmed(installation: Installation, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what tells the Router of refusals as of nobody's fault."""
    from litellm.exceptions import GuardrailRaisedException

    from mesh_store.model.errors import MeshError

    @functools.wraps(original)
    def heard(error: BaseException) -> Mapping[str, object]:
        told: Mapping[str, object] = original(error)
        refused = isinstance(error, MeshError) and isinstance(error, GuardrailRaisedException)
        return {**told, **_NO_FAULT} if refused and installation.active else told

    return heard
