"""How the story looks in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console
from rich.markup import escape

from mesh_plugins.cli.printing import Row, table

#: Wide enough for every table; a pipe has no width of its own.
_WIDTH = 100


class Teller:
    """Prints the story, and knows how long it has been going on."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_WIDTH)
        self._began = time.monotonic()
        self._chapter = 0

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._chapter += 1
        self.console.print()
        self.console.rule(f"[bold]{self._chapter}  {escape(title)}", align="left", characters="─")

    def say(self, text: str) -> None:
        """Print a sentence; it may hold rich's markup."""
        self.console.print(text)

    def command(self, line: str) -> None:
        """Print the command that does the same from a terminal."""
        self.console.print(f"  [dim]$ {escape(line)}", soft_wrap=True)

    def table(self, rows: Iterable[Row], columns: Sequence[str]) -> None:
        """Print a table."""
        self.console.print(table(rows, columns))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show a progress line while something takes its time."""
        with self.console.status(what):
            yield


def dollars(amount: Decimal | None) -> str:
    """Show an exact amount as people write it."""
    return "unpriced" if amount is None else f"${amount.normalize():f}"
