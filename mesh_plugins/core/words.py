"""Words of strangers, made fit for a fact: callers' labels, and what providers call their replies.

A lone surrogate cannot be encoded and a NUL cannot be stored; either would cost the whole record, and
with it the settlement, so both are replaced rather than refused: the call has been made by then.
"""

from __future__ import annotations

from typing import Any

#: The longest a caller's own label may be, characters.
LONGEST_LABEL = 128
#: The longest a provider's word may be, characters.
LONGEST_WORD = 256


def fit(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return ``text`` bounded to ``longest`` characters, each of which UTF-8 and Postgres can hold."""
    if len(text) <= longest and text.isascii() and "\x00" not in text:
        return text
    text = text[:longest]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", "\ufffd")


def word(value: Any) -> str | None:
    """Return a provider's word, bounded; None when it is no text at all."""
    if value is None:
        return None
    return fit(value, LONGEST_WORD) if isinstance(value, str) else None
