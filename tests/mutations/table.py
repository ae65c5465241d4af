"""The table of deliberate bugs: the ``*.toml`` files beside this one, one a part of the project.

Each bug is a textual change of one place in one file, and names the tests of which at least one must
turn red by it. They are tests of the default run: whoever makes such a mistake hears of it at once.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """One deliberate bug.

    Attributes:
        bug: what is wrong then, as a phrase.
        file: where, from the project's root.
        before, after: the text that is there, exactly once, and what stands there instead.
        tests: files or node ids of tests, from ``tests/``.
    """

    bug: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """Return a file's text with the bug in it.

        Raises:
            ValueError: the text to change is not there exactly once; the table must follow the code.
        """
        if (count := source.count(self.before)) != 1:
            raise ValueError(f"{self.file}: {count} places, not 1, read {self.before!r}")
        return source.replace(self.before, self.after)


def mutations() -> list[Mutation]:
    """Return every deliberate bug, in the order of the files' names."""
    return [
        Mutation(**{**row, "tests": tuple(row["tests"])})
        for path in sorted(Path(__file__).parent.glob("*.toml"))
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
    ]
