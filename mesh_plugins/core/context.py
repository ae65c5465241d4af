"""The mark of a governed call, so that a host inside a host charges once.

LangChain over LiteLLM over the direct caller is one call: the outermost door governs, the inner
ones see the mark and pass through.
"""

from __future__ import annotations

from contextvars import ContextVar

_governed: ContextVar[bool] = ContextVar("mesh_governed", default=False)


def is_governed() -> bool:
    """Tell whether this code runs inside a call that is already governed."""
    return _governed.get()


class governed:  # noqa: N801 - reads as the word it is in a with statement
    """Mark everything inside, in this task or thread, as governed already."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _governed.set(True)

    def __exit__(self, *_: object) -> None:
        _governed.reset(self._token)
