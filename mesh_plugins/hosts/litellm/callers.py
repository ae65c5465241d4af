"""Whose call it is behind litellm's proxy: set by its hook, read where a call's keywords are sorted."""

from __future__ import annotations

from contextvars import ContextVar

#: The key of the request that this task serves; it goes over whatever the request itself says.
_key: ContextVar[str | None] = ContextVar("mesh_litellm_key", default=None)


def serve(key: str) -> None:
    """Let the calls of this task, and of those it starts, be made with ``key``."""
    _key.set(key)


def served() -> str | None:
    """Return the key of the request that this task serves, or None outside the proxy."""
    return _key.get()
