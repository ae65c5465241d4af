"""What was measured: one flat list of figures, which tables, plots and the README are made from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured of one case.

    Attributes:
        family: which part of the suite measured it.
        table: what it is compared within.
        case: who, or what.
        name: which property of it.
        unit: of the values.
        values: one a round, those that counted.
        at: where on a curve, in what `axis` says; None off any curve.
        axis: what a curve grows by.
    """

    family: str
    table: str
    case: str
    name: str
    unit: str
    values: tuple[float, ...]
    at: float | None = None
    axis: str = ""

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what `results.json` holds of it."""
        told = {
            "family": self.family,
            "table": self.table,
            "case": self.case,
            "name": self.name,
            "unit": self.unit,
            "median": _short(self.median),
            "least": _short(min(self.values)),
            "most": _short(max(self.values)),
            "rounds": [_short(value) for value in self.values],
        }
        return told if self.at is None else {**told, "at": self.at, "axis": self.axis}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Figure:
        """Read what `as_json` wrote."""
        names = ("family", "table", "case", "name", "unit")
        texts = {name: str(told[name]) for name in names}
        return cls(**texts, values=tuple(told["rounds"]), at=told.get("at"), axis=told.get("axis", ""))


@dataclass
class Book:
    """Everything a run found.

    Attributes:
        figures: in the order they were measured.
        missing: who could not take part, and why.
        versions: of what was measured.
        refused: slices measured again because others used the machine.
        seconds: how long each family took.
        about: the machine, the commit, the options.
    """

    figures: list[Figure] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def find(self, table: str, case: str, name: str, at: float | None = None) -> float:
        """Return a median.

        Raises:
            KeyError: nobody measured it.
        """
        for figure in self.figures:
            if (figure.table, figure.case, figure.name, figure.at) == (table, case, name, at):
                return figure.median
        raise KeyError(f"{name} of {case} in {table}" + ("" if at is None else f" at {at:g}"))

    def tables(self) -> dict[str, list[Figure]]:
        """Return the figures of each table, in order."""
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            found.setdefault(figure.table, []).append(figure)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return what `results.json` holds."""
        return {
            **self.about,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "versions": self.versions,
            "missing": self.missing,
            "slices_measured_again": self.refused,
            "figures": [figure.as_json() for figure in self.figures],
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Book:
        """Read what `as_json` wrote."""
        rest = ("seconds", "versions", "missing", "slices_measured_again", "figures")
        return cls(
            figures=[Figure.of_json(each) for each in told["figures"]],
            missing=dict(told["missing"]),
            versions=dict(told["versions"]),
            refused=told["slices_measured_again"],
            seconds=dict(told["seconds"]),
            about={name: value for name, value in told.items() if name not in rest},
        )


@dataclass(frozen=True)
class Page:
    """Writes figures of one family into a book."""

    book: Book
    family: str

    def tell(
        self,
        table: str,
        case: str,
        name: str,
        unit: str,
        values: float | Iterable[float],
        at: float | None = None,
        axis: str = "",
    ) -> None:
        """Note one figure; see `Figure`."""
        rounds: Sequence[float] = [values] if isinstance(values, int | float) else list(values)
        self.book.figures.append(
            Figure(self.family, table, case, name, unit, tuple(map(float, rounds)), at, axis)
        )

    def without(self, who: str, why: object) -> None:
        """Note who could not take part."""
        self.book.missing[who] = str(why)


def _short(value: float) -> float:
    """Keep six digits: nobody measures more."""
    return float(f"{value:.6g}")
