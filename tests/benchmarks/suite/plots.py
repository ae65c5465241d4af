"""Pictures of tables: bars where cases are compared, lines where something grows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .book import Book, Figure

#: What bars show first, in this order; a table without any of these is not drawn.
_WORTH_BARS = ("calls/s", "checks/s", "facts/s", "a record", "median")


def draw(book: Book, folder: Path) -> dict[str, list[str]]:
    """Draw every table that has something to see; return the names of its pictures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mesh"  # the same figures are the same file
    drawn: dict[str, list[str]] = {}
    for title, figures in book.tables().items():
        curves = [figure for figure in figures if figure.at is not None]
        if curves:
            _lines(title, curves, folder / f"{_slug(title)}.svg")
        elif bars := _bars_of(figures):
            _bars(title, bars, folder / f"{_slug(title)}.svg")
        else:
            continue
        drawn[title] = [f"{_slug(title)}.svg"]
    return drawn


def _bars_of(figures: Sequence[Figure]) -> list[Figure]:
    for name in _WORTH_BARS:
        found = [figure for figure in figures if figure.name == name]
        if len(found) > 1 and len({figure.unit for figure in found}) == 1:
            return found
    return []


def _bars(title: str, figures: Sequence[Figure], path: Path) -> None:
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(figsize=(8, 0.35 * len(figures) + 1.2), layout="constrained")
    medians = [figure.median for figure in figures]
    reach = [
        [max(0.0, figure.median - min(figure.values)) for figure in figures],
        [max(0.0, max(figure.values) - figure.median) for figure in figures],
    ]
    ours = ["tab:green" if "mesh" in figure.case.lower() else "tab:gray" for figure in figures]
    axes.barh([figure.case for figure in figures], medians, xerr=reach, color=ours)
    axes.invert_yaxis()
    axes.set(xscale="log", title=title, xlabel=f"{figures[0].name}, {figures[0].unit}")
    _save(picture, path)


def _lines(title: str, figures: Sequence[Figure], path: Path) -> None:
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(figure.name for figure in figures))
    picture, several = plt.subplots(
        1, len(names), figsize=(4.2 * len(names), 3.4), layout="constrained", squeeze=False
    )
    picture.suptitle(title)
    for axes, name in zip(several[0], names, strict=True):
        shown = [figure for figure in figures if figure.name == name]
        for case in dict.fromkeys(figure.case for figure in shown):
            points = sorted((figure.at or 0.0, figure.median) for figure in shown if figure.case == case)
            axes.plot([at for at, _ in points], [value for _, value in points], marker="o", label=case)
        axes.set(xscale="log", title=name, xlabel=shown[0].axis, ylabel=shown[0].unit)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    _save(picture, path)


def _save(picture: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    picture.savefig(path, metadata={"Date": None})
    plt.close(picture)


def _slug(title: str) -> str:
    return re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
