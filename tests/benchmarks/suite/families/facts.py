"""How long reports take as facts pile up: facts made by Postgres, summed by the product's own statement."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import bench_usage

from mesh_store.embedded import attach
from suite.book import Page
from suite.stage import Stage

TABLE = "Growth: facts kept"


def run(page: Page, stage: Stage) -> None:
    """Keep ever more facts of 30 days, and ask every question at each size."""
    sizes = [10_000, 100_000] if stage.quick else [10_000, 100_000, 1_000_000]
    sizes += [10_000_000] if stage.full else []
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as home, attach(Path(home)) as engines:
        for size, told in asyncio.run(bench_usage.growing(engines, sizes)).items():
            for (name, unit), values in told.items():
                page.tell(TABLE, "Mesh", name, unit, values, size, "facts")
