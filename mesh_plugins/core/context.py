"""The mark of a governed call, so that a host inside a host charges once.

LangChain over LiteLLM over the direct caller is one call: the outermost door governs, the inner
ones see the mark and pass through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_governed: ContextVar[bool] = ContextVar("mesh_governed", default=False)


def is_governed() -> bool:
    """Tell whether this code runs inside a call that is already governed."""
    return _governed.get()


@contextmanager
def governed() -> Iterator[None]:
    """Mark everything inside, in this task or thread, as governed already."""
    token = _governed.set(True)
    try:
        yield
    finally:
        _governed.reset(token)
