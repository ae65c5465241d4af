"""SQL kept in files: each statement stands under a line ``-- name: …``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def split_statements(text: str) -> dict[str, str]:
    """Return the statements of a file by name, in the order they stand there."""
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def statements(name: str) -> dict[str, str]:
    """Return the statements of ``mesh_store/postgres/sql/<name>.sql``."""
    return split_statements((Path(__file__).parent / "sql" / f"{name}.sql").read_text("utf-8"))
