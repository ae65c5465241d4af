"""Live configuration: its size, look-ups, and how long a commit takes to be everywhere."""

from __future__ import annotations

import asyncio

import bench_config

from suite import services
from suite.book import Page
from suite.stage import Stage

TABLE = "Live configuration"


def run(page: Page, stage: Stage) -> None:
    """Measure a large configuration, then how changes of a small one spread."""
    found: dict[tuple[str, str], list[float]] = {}

    def tell(what: str, value: float, unit: str, _bound: str) -> None:
        found.setdefault((what, unit), []).append(value)

    with services.valkey() as url:
        for number in range(min(3, stage.rounds)):
            stage.say(f"round {number + 1}")
            asyncio.run(bench_config.sizes(url, tell))
            asyncio.run(bench_config.spreading(url, tell))
    for (what, unit), values in found.items():
        page.tell(TABLE, what, "median", unit, values)
