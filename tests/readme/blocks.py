"""README.md as data: its fenced blocks, and what it writes as code in its sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: what stands behind the fence; empty where nothing does.
        text: as printed.
    """

    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]


def blocks() -> list[Block]:
    """Return the fenced blocks, from first to last."""
    return [Block(*found) for found in _FENCED.findall(README.read_text(encoding="utf-8"))]


def inline_code() -> list[str]:
    """Return what stands between backticks outside of blocks, a line break in it as a space."""
    prose = _FENCED.sub("", README.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in _INLINE.findall(prose)]
