"""The README's page on scale: what one call costs each engine, and what follows at which rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .book import Book

RATES = (10, 1_000, 100_000)
#: How busy an engine should be at most, so that it takes what another one drops.
HALF = 0.5
_CALLER, _LIMITS, _FACTS = "Cost of a call: the caller", "Cost of a call: limits", "Cost of a call: facts"


class Input(NamedTuple):
    """One figure the arithmetic rests on: its letter, what it says, and where `results.json` has it."""

    letter: str
    says: str
    unit: str
    places: tuple[tuple[str, str, str], ...]

    def of(self, book: Book) -> float:
        """Return its value: the sum of its places."""
        return sum(max(0.0, book.find(*place)) for place in self.places)


INPUTS = [
    Input("c", "processor time of the caller, beyond posting the same bytes", "us",
          ((_CALLER, "leases off", "CPU beyond posting the same bytes"),)),
    Input("r", "processor time of the Redis that holds limits, every call asking", "us",
          ((_LIMITS, "leases off", "server's CPU"),)),
    Input("l", "the same where limits are hot and leased", "us", ((_LIMITS, "leases on", "server's CPU"),)),
    Input("n", "bytes to and from it, every call asking", "B",
          ((_LIMITS, "leases off", "bytes in"), (_LIMITS, "leases off", "bytes out"))),
    Input("f", "processor time of the Redis that takes facts, in and out", "us",
          ((_FACTS, "on its way", "server's CPU"), (_FACTS, "collected", "server's CPU"))),
    Input("m", "its memory for a fact that waits", "B", ((_FACTS, "on its way", "memory while it waits"),)),
    Input("k", "processor time of the collector", "us", ((_FACTS, "collector", "CPU"),)),
    Input("p", "processor time of Postgres", "us", ((_FACTS, "Postgres", "CPU"),)),
    Input("d", "its disk for a single call, indexes included", "B", ((_FACTS, "Postgres", "disk"),)),
    Input("w", "its write-ahead log", "B", ((_FACTS, "Postgres", "write-ahead log"),)),
    Input("o", "processor time of the exporter to an OpenTelemetry Collector", "us",
          (("Cost of a call: export", "a span and its metrics over OTLP", "exporter's CPU"),)),
    Input("i", "processor time of Redis for a process that makes no call, a second", "us",
          (("Cost of an idle process", "Mesh", "server's CPU a second"),)),
]  # fmt: skip


class Row(NamedTuple):
    """One line of the arithmetic."""

    says: str
    formula: str
    at: Callable[[dict[str, float], int], str]


def _cores(micros: float, rate: int) -> float:
    return micros * rate / 1e6


def _servers(micros: float, rate: int) -> int:
    return max(1, math.ceil(_cores(micros, rate) / HALF))


ROWS = [
    Row("callers, all together: cores", "c · rate", lambda v, r: _plain(_cores(v["c"], r))),
    Row("Redis for limits: cores", "r · rate", lambda v, r: _plain(_cores(v["r"], r))),
    Row("… of these, with hot limits leased", "l · rate", lambda v, r: _plain(_cores(v["l"], r))),
    Row("… primaries, half busy", "⌈2 · r · rate⌉", lambda v, r: f"{_servers(v['r'], r)}"),
    Row("… network", "8 · n · rate", lambda v, r: f"{_plain(v['n'] * r * 8 / 1e6)} Mbit/s"),
    Row("Redis for facts: cores", "f · rate", lambda v, r: _plain(_cores(v["f"], r))),
    Row("… primaries and shards, half busy", "⌈2 · f · rate⌉", lambda v, r: f"{_servers(v['f'], r)}"),
    Row("… memory for an hour without Postgres", "3600 s · m · rate", lambda v, r: _bytes(3600 * v["m"] * r)),
    Row("`mesh collect`, half busy", "⌈2 · k · rate⌉", lambda v, r: f"{_servers(v['k'], r)}"),
    Row("Postgres: cores", "p · rate", lambda v, r: _plain(_cores(v["p"], r))),
    Row("… disk a day", "86400 s · d · rate", lambda v, r: _bytes(86_400 * v["d"] * r)),
    Row("… write-ahead log", "w · rate", lambda v, r: f"{_bytes(v['w'] * r)}/s"),
    Row("exporters, half busy", "⌈2 · o · rate⌉", lambda v, r: f"{_servers(v['o'], r)}"),
]


def inputs(book: Book) -> str:
    """Return the table of what one call costs each engine."""
    lines = ["| | one call costs | |", "|---|---|--:|"]
    lines += [f"| {each.letter} | {each.says} | {_plain(each.of(book))} {each.unit} |" for each in INPUTS]
    return "\n".join([*lines, "", where_and_when(book, "cost")]) + "\n"


def where_and_when(book: Book, family: str) -> str:
    """Return what a reader has to know before believing a figure; families may be measured apart."""
    machine = book.about["machine"]
    rounds = max(len(figure.values) for figure in book.figures if figure.family == family)
    busy = "" if book.about["quiet"] else ": a quick look on a busy machine"
    where = f"{machine['processor']}, {machine['cores']} cores"
    at = book.about["measured"][family]["at"]
    return f"Measured until {at} on {where}, in {rounds} rounds{busy}."


def arithmetic(book: Book) -> str:
    """Return the table of what follows at each rate."""
    values = {each.letter: each.of(book) for each in INPUTS}
    lines = ["| calls a second | | " + " | ".join(f"{rate:,}" for rate in RATES) + " |"]
    lines += ["|---|---|" + "--:|" * len(RATES)]
    for row in ROWS:
        cells = " | ".join(row.at(values, rate) for rate in RATES)
        lines.append(f"| {row.says} | {row.formula} | {cells} |")
    return "\n".join(lines) + "\n"


def _plain(value: float) -> str:
    """Write a number with two digits, or whole from a hundred on."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.2g}'):g}"


def _bytes(value: float) -> str:
    """Write an amount of memory."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{_plain(value)} {unit}"
        value /= 1000
    return f"{_plain(value)} TB"
