"""Plots of usage: bars drawn as SVG, so that a notebook shows them without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from mesh_plugins.usage import Usage, shown
from mesh_store.model.errors import ConfigError

#: Pixels: a row's height, the labels' column, the longest bar, room for the figure behind it.
_ROW, _LABEL, _BAR, _FIGURE = 24, 180, 360, 100


class Bars:
    """One bar a row of a usage report, the longest for the largest value.

    Args:
        usage: the report.
        value: the column to draw: ``calls``, ``cost_usd``, ``output_tokens``, ….

    Raises:
        ConfigError: the report has no such column, or it is no number.
    """

    def __init__(self, usage: Usage, value: str = "calls") -> None:
        self.value = value
        self.rows = [(_named(row, usage.by), _number(row, value)) for row in usage]

    def _repr_svg_(self) -> str:
        height, width = _ROW * (len(self.rows) + 1), _LABEL + _BAR + _FIGURE
        most = max((number for _, number in self.rows), default=0) or 1
        title = f'<text x="{_LABEL}" y="16" font-weight="bold">{escape(self.value.replace("_", " "))}</text>'
        rows = "".join(
            _row(index, name, number, number / most)
            for index, (name, number) in enumerate(self.rows, start=1)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
            f"{title}{rows}</svg>"
        )

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {shown(number)}" for name, number in self.rows)


def _row(index: int, name: str, number: Any, share: float) -> str:
    top, length = _ROW * index, max(1, round(float(share) * _BAR))
    return (
        f'<text x="{_LABEL - 8}" y="{top + 16}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LABEL}" y="{top + 4}" width="{length}" height="{_ROW - 8}" fill="#4c78a8"/>'
        f'<text x="{_LABEL + length + 6}" y="{top + 16}">{escape(shown(number))}</text>'
    )


def _named(row: dict[str, Any], by: Sequence[str]) -> str:
    return " · ".join(shown(row[dimension]) for dimension in by) or "all"


def _number(row: dict[str, Any], value: str) -> Any:
    number = row.get(value)
    if value not in row or isinstance(number, str):
        raise ConfigError(
            f"{value!r} is no figure of a usage report; there are calls, cost_usd, output_tokens, …"
        )
    return number or 0
