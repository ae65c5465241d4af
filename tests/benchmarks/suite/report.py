"""What was found, as `results.json`, a Markdown table and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rounds import Found, Row


def write(found: Found, folder: Path, *, more: dict[str, Any]) -> Path:
    """Write ``results.json``, ``results.md`` and a plot per number of callers; return the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "rows": [row.as_json() for row in found.rows],
        "missing": found.missing,
        "versions": found.versions,
        "slices_measured_again": found.refused,
        **more,
    }
    (folder / "results.json").write_text(json.dumps(told, indent=2) + "\n")
    table = folder / "results.md"
    table.write_text(markdown(found, more))
    for callers in sorted({row.callers for row in found.rows}):
        _plot([row for row in found.rows if row.callers == callers], folder / f"calls-{callers}.svg")
    return table


def markdown(found: Found, more: dict[str, Any]) -> str:
    """Return the tables, one for each number of callers; ratios to the first row, the floor."""
    lines = []
    for callers in sorted({row.callers for row in found.rows}):
        rows = [row for row in found.rows if row.callers == callers]
        noun = "caller" if callers == 1 else "callers"
        lines += [
            f"### {callers} {noun}",
            "",
            "| | of the floor's calls/s | spread | p50 | p99 | + p50 | caller's CPU | memory |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
            *(_line(row, rows[0]) for row in rows),
            "",
        ]
    if found.missing:
        lines += [
            "Left out: " + "; ".join(f"{name} ({why})" for name, why in found.missing.items()) + ".",
            "",
        ]
    lines += [f"{name}: {value}  " for name, value in more.items() if isinstance(value, str | int | float)]
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in found.versions.items()) + "."]
    return "\n".join(lines) + "\n"


def _line(row: Row, floor: Row) -> str:
    ratio, spread = row.calls_s / floor.calls_s, (max(row.rounds) - min(row.rounds)) / row.calls_s
    latency = " | ".join(f"{us / 1000:.2f} ms" for us in (row.p50_us, row.p99_us))
    added = f"{(row.p50_us - floor.p50_us) / 1000:+.2f} ms"
    return (
        f"| {row.contender} | {ratio:.3f} | {spread:.0%} | {latency} | {added} "
        f"| {row.cpu_us:.0f} us | {row.rss_mb:.0f} MiB |"
    )


def _plot(rows: Sequence[Row], path: Path) -> None:
    import pygal

    callers = rows[0].callers
    chart = pygal.HorizontalBar(
        show_legend=False, print_values=True, logarithmic=True, height=40 * len(rows) + 120,
        title=f"Calls a second, {callers} at once",
    )  # fmt: skip
    chart.x_labels = [row.contender for row in reversed(rows)]
    chart.add("calls/s", [round(row.calls_s) for row in reversed(rows)])
    path.write_bytes(chart.render())
