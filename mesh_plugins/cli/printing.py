"""Tables for people, JSON for programs: every listing goes through here."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]

#: A pipe has no width; lines are cut there by whoever reads them.
_PIPE_WIDTH = 200


def console() -> Console:
    """Return where tables go: standard output, as wide as the terminal is."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def show(
    rows: Iterable[Row],
    columns: Sequence[str],
    *,
    as_json: bool,
    empty: str = "none",
    right: Sequence[str] = (),
) -> None:
    """Print a listing.

    Args:
        rows: one mapping per line.
        columns: what a table shows of them, in order; JSON holds everything.
        as_json: print a list of objects.
        empty: what to say instead of an empty table.
        right: columns of figures that come as text.
    """
    rows = list(rows)
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(empty)
    else:
        console().print(table(rows, columns, right=right))


def table(
    rows: Iterable[Row], columns: Sequence[str], *, title: str | None = None, right: Sequence[str] = ()
) -> Table:
    """Return a table of the given columns; numbers stand right, and so do the columns of ``right``."""
    from rich import box
    from rich.table import Table

    rows = list(rows)
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        numbers = column in right or all(isinstance(row.get(column), int | float | Decimal) for row in rows)
        made.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(row.get(column)) for column in columns))
    return made


def print_json(value: Any) -> None:
    """Print a value as JSON; times are ISO 8601, money is a number of USD."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def print_csv(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Print a listing as CSV with a header; times are ISO 8601, money is USD to the last digit."""
    typer.echo(csv_text(rows, columns), nl=False)


def csv_text(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return a listing as CSV; a text that a spreadsheet would run as a formula is quoted as text."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_field(row.get(column)) for column in columns])
    return made.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _cell(value: Any) -> str:
    from rich.markup import escape

    match value:
        case None:
            return "-"
        case True | False:
            return "yes" if value else "no"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case list() | tuple():
            return escape(", ".join(map(str, value)))
        case _:
            return escape(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)  # exact to the pico-USD below $9,007
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
