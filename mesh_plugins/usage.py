"""Usage as a caller looks at it: rows from Postgres, readable in a notebook, a terminal and a data frame."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Any, Self

from mesh_store.model.errors import ConfigError
from mesh_store.model.limit_text import parse_period_us

#: What is shown; every row holds more.
SHOWN = (
    "calls",
    "errors",
    "denied",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "latency_p50_ms",
    "latency_p95_ms",
)


_LEFT = "text-align: left; white-space: nowrap"
_RIGHT = "text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums"


class Usage:
    """A usage report; a sequence of dictionaries.

    Attributes:
        by: the dimensions of the rows.
        rows: dictionaries with the dimensions, ``calls``, ``errors``, ``denied``, tokens of every kind,
            ``cost_usd`` (`Decimal`), ``unpriced``, ``mean_latency_ms`` and percentiles.
    """

    def __init__(self, by: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        self.by, self.rows = tuple(by), tuple(rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __repr__(self) -> str:
        """Return the table as text, figures to the right."""
        if not self.rows:
            return f"<Usage by {', '.join(self.by) or 'nothing'}: 0 rows>"
        lines = [[name.replace("_", " ") for name in self._columns]]
        lines += [[cell(row, name) for name in self._columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if index < len(self.by) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )

    def _repr_html_(self) -> str:
        # Each cell says how it stands: notebooks have rules of their own, and they differ.
        styles = {name: _LEFT if name in self.by else _RIGHT for name in self._columns}
        head = "".join(
            f'<th style="{style}">{escape(name.replace("_", " "))}</th>' for name, style in styles.items()
        )
        body = "".join(
            "<tr>"
            + "".join(f'<td style="{style}">{escape(cell(row, name))}</td>' for name, style in styles.items())
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table()
        for name in self._columns:
            table.add_column(name.replace("_", " "), justify="left" if name in self.by else "right")
        for row in self.rows:
            table.add_row(*[cell(row, name) for name in self._columns])
        return table

    def to_pandas(self) -> Any:
        """Return a pandas data frame; needs pandas.

        ``cost_usd`` is a float there, so that it can be plotted and described; `rows` has it exactly.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ConfigError("to_pandas needs pandas: pip install pandas") from None
        frame = pd.DataFrame(list(self.rows), columns=self._names)
        return frame.astype({"cost_usd": "float64"})

    def to_polars(self) -> Any:
        """Return a polars data frame, ``cost_usd`` as exact decimals; needs polars."""
        try:
            import polars as pl
        except ImportError:
            raise ConfigError("to_polars needs polars: pip install polars") from None
        # A column may begin with any number of empty cells: all rows say of which type it is.
        exact = {"cost_usd": pl.Decimal(38, 12)}
        rows = [[row[name] for name in self._names] for row in self.rows]
        return pl.DataFrame(
            rows, schema=self._names, schema_overrides=exact, orient="row", infer_schema_length=None
        )

    @property
    def _names(self) -> list[str]:
        return list(self.rows[0]) if self.rows else list(self._columns)

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*self.by, *SHOWN)

    @classmethod
    def read(
        cls,
        database_url: str,
        by: str | Sequence[str],
        since: str | datetime | timedelta | None,
        until: datetime | None,
    ) -> Self:
        """Read a report from Postgres; works with and without a running event loop.

        Args:
            database_url: Postgres.
            by: dimensions of the rows; see `mesh_store.postgres.usage.usage_report`.
            since: a duration back from now (``"24h"`` or a timedelta), or a moment; None means the beginning.
            until: the first moment that no longer counts; None means now.
        """
        dimensions = by.replace(",", " ").split() if isinstance(by, str) else list(by)
        return cls(dimensions, _in_a_loop_of_its_own(database_url, dimensions, _moment(since), until))


def cell(row: Mapping[str, Any], name: str) -> str:
    """Return a cell of a report as people read it: what has no price is named, and never shown as free."""
    value, unpriced = row.get(name), row.get("unpriced")
    if name == "cost_usd" and unpriced:
        return f"{shown(value)} + {unpriced:,} unpriced" if value else "unpriced"
    return f"{value:%Y-%m-%d}" if name == "day" and isinstance(value, datetime) else shown(value)


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        places = max(4, 1 - value.adjusted())  # two figures of however little
        return f"${value:,.{places}f}" if value else "$0"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _moment(since: str | datetime | timedelta | None) -> datetime | None:
    if isinstance(since, str):
        since = timedelta(microseconds=parse_period_us(since))
    return datetime.now(UTC) - since if isinstance(since, timedelta) else since


def _in_a_loop_of_its_own(
    database_url: str, by: Sequence[str], since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    # A notebook's cell has a running loop, where asyncio.run is refused: a thread has none.
    answer: list[Any] = []

    async def read() -> list[dict[str, Any]]:
        from mesh_store.postgres import Database
        from mesh_store.postgres.usage import usage_report

        async with Database(database_url) as database:
            return await usage_report(database, by, since, until)  # type: ignore[arg-type]

    def run() -> None:
        try:
            answer.append(asyncio.run(read()))
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=run, name="mesh-usage")
    thread.start()
    thread.join()
    if isinstance(answer[0], BaseException):
        raise answer[0]
    rows: list[dict[str, Any]] = answer[0]
    return rows
