"""What was found, as `results.json`, Markdown tables and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from .book import Book, Figure
from .plots import draw


def write(book: Book, folder: Path) -> Path:
    """Write ``results.json``, ``results.md`` and plots; return the tables' path."""
    keep(book, folder)
    plots = draw(book, folder)
    table = folder / "results.md"
    table.write_text(markdown(book, plots))
    return table


def keep(book: Book, folder: Path) -> None:
    """Write ``results.json``: what was found so far."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(book.as_json(), indent=1) + "\n")


def markdown(book: Book, plots: dict[str, list[str]]) -> str:
    """Return everything as text; ``plots`` names the pictures of each table."""
    machine = book.about["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}"
    )
    how = (
        f"Medians of {book.about['rounds']} rounds, ± half of how far they lie apart; "
        f"{book.refused} slices were measured again because others used the machine."
    )
    lines = [
        "# What was measured",
        "",
        f"{book.about['at']}, commit {book.about['commit']}: {where}. {how}",
        "",
    ]
    for title, figures in book.tables().items():
        lines += [f"## {title}", "", *table(figures), ""]
        lines += [f"![{title}]({name})" for name in plots.get(title, [])] + [""]
    if book.missing:
        lines += ["## Left out", "", *(f"- {who}: {why}" for who, why in book.missing.items()), ""]
    took = ", ".join(f"{family} {seconds:.0f} s" for family, seconds in book.seconds.items())
    lines += [f"Took: {took}.", ""]
    lines += ["Versions: " + ", ".join(f"{name} {version}" for name, version in book.versions.items()) + "."]
    return "\n".join(lines) + "\n"


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """Yield the lines of one table: a row for each case and place on the curve, a column for each figure."""
    names = list(dict.fromkeys(figure.name for figure in figures))
    rows = list(dict.fromkeys((figure.case, figure.at) for figure in figures))
    axis = next((figure.axis for figure in figures if figure.axis), "")
    found = {(figure.case, figure.at, figure.name): figure for figure in figures}
    yield "| | " + (f"{axis} | " if axis else "") + " | ".join(names) + " |"
    yield "|---|" + "--:|" * (len(names) + bool(axis))
    for case, at in rows:
        cells = [cell(found.get((case, at, name))) for name in names]
        yield f"| {case} | " + (f"{at:,.0f} | " if axis and at is not None else "") + " | ".join(cells) + " |"


def cell(figure: Figure | None) -> str:
    """Write one figure, with its spread where there was more than one round."""
    if figure is None:
        return "-"
    spread = f" ±{figure.spread / 2:.0%}" if len(figure.values) > 1 else ""
    return f"{number(figure.median)}{'' if figure.unit == 'x' else ' ' + figure.unit}{spread}"


def number(value: float) -> str:
    """Write a number with three digits, or whole."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
