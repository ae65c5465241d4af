"""A month of one team as one HTML page: totals, plots as SVG within the page, tables. Nothing is fetched."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

from mesh_plugins.usage import SHOWN, cell, shown

#: What the page asks for, in the order in which `page` takes the answers.
DIMENSIONS: tuple[tuple[str, ...], ...] = ((), ("day",), ("alias", "provider", "model"), ("user",), ("key",))
#: Rows of a table, and slices of a plot, at most.
_ROWS, _SLICES = 50, 10
#: The one series of a plot that needs no legend.
_USD = "USD"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 68rem;
       margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 0 0 2rem }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left }
td { white-space: nowrap }
.number { text-align: right; font-variant-numeric: tabular-nums }
svg { width: 100%; height: auto }
"""

Rows = Sequence[dict[str, Any]]


def page(team: str, since: datetime, tables: Sequence[Rows]) -> str:
    """Return the page.

    Args:
        team: its name.
        since: first moment of the month.
        tables: a report for each of `DIMENSIONS`.
    """
    totals, days, models, users, keys = tables
    total = totals[0]
    title = f"{team}, {since:%B %Y}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{total['calls']:,} calls, {total['errors']:,} errors, {shown(total['cost_usd'])}.</p>",
    ]
    if total["unpriced"]:
        parts.append(
            f"<p>{total['unpriced']:,} calls used a model without a price; they are not in the cost.</p>"
        )
    if total["calls"]:
        parts += [_per_day(since, days), _per_model(models)]
    for heading, dimensions, rows in (
        ("Models", DIMENSIONS[2], models),
        ("Users", DIMENSIONS[3], users),
        ("Keys", DIMENSIONS[4], keys),
        ("Days", DIMENSIONS[1], sorted(days, key=lambda row: row["day"])),
    ):
        parts += [f"<h2>{heading}</h2>", _table(dimensions, rows)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _table(dimensions: Sequence[str], rows: Rows) -> str:
    head = "".join(f"<th>{name}</th>" for name in dimensions)
    head += "".join(f'<th class="number">{name.replace("_", " ")}</th>' for name in SHOWN)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(cell(row, name))}</td>" for name in dimensions)
        + "".join(f'<td class="number">{escape(cell(row, name))}</td>' for name in SHOWN)
        + "</tr>"
        for row in rows[:_ROWS]
    )
    more = f"<p>and {len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _per_day(since: datetime, rows: Rows) -> str:
    by_day = {row["day"].date(): row for row in rows}
    last = (since + timedelta(days=32)).replace(day=1)
    days = [(since + timedelta(days=n)).date() for n in range((last - since).days)]
    costs = [float(by_day[day]["cost_usd"]) if day in by_day else 0.0 for day in days]
    return _plot("Bar", "USD a day", [str(day.day) for day in days], {_USD: costs})


def _per_model(rows: Rows) -> str:
    costs: dict[str, Decimal] = {}
    for row in rows:
        name = shown(row["model"])
        costs[name] = costs.get(name, Decimal(0)) + row["cost_usd"]
    priced = [(name, cost) for name, cost in costs.items() if cost]
    highest = sorted(priced, key=lambda pair: pair[1], reverse=True)
    series = {name: [float(cost)] for name, cost in highest[:_SLICES]}
    if highest[_SLICES:]:
        series["others"] = [float(sum(cost for _, cost in highest[_SLICES:]))]
    return _plot("HorizontalBar", "USD by model", [""], series)


def _plot(kind: str, title: str, labels: Sequence[str], series: dict[str, list[float]]) -> str:
    try:
        import pygal
        from pygal.style import CleanStyle

        # Its hook for plugins is of a kind that newer Pythons warn about at every later import.
        sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    except ImportError:
        from mesh_store.model.errors import ConfigError

        raise ConfigError(
            "plots need pygal: pip install 'mesh-plugins[report]', or say --format csv"
        ) from None
    chart = getattr(pygal, kind)(
        title=title,
        js=[],
        height=300,
        style=CleanStyle,
        show_legend=list(series) != [_USD],
        truncate_legend=-1,
        disable_xml_declaration=True,
    )
    chart.x_labels = labels
    for name, values in series.items():
        chart.add(name, values)
    drawing = chart.render_tree()
    # No script: pygal's own only makes plots interactive, and a page that runs code is not to be mailed.
    for parent in drawing.iter():
        for child in [child for child in parent if child.tag == "script"]:
            parent.remove(child)
    return ET.tostring(drawing, "unicode")
