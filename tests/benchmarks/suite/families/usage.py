"""What people wait for when they look at usage: `mesh usage`, reports, dashboards over many facts."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import bench_usage

from mesh_store.embedded import attach
from mesh_store.postgres import Database
from suite.book import Page
from suite.stage import Stage

DAYS = 30


def run(page: Page, stage: Stage) -> None:
    """Fill a database and ask it."""
    facts = 20_000 if stage.quick else 200_000
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as home, attach(Path(home)) as engines:
        asyncio.run(_asked(page, stage, engines, facts))


async def _asked(page: Page, stage: Stage, engines: Any, facts: int) -> None:
    async with Database(engines.database_url) as database:
        await database.migrate()
        await bench_usage.fill(engines.dsn, facts, DAYS)
        connection = await asyncpg.connect(engines.dsn)
        await connection.execute("VACUUM ANALYZE usage_rollups")
        table = f"Reports over {facts:,} facts of {DAYS} days"
        for name, took in (await bench_usage.ask(bench_usage.reports(database), stage.rounds)).items():
            page.tell(table, name, "median", "ms", took)
        drawn = await bench_usage.ask(bench_usage.panels(connection), min(2, stage.rounds))
        for span in ("1h", "6h", "24h", "7d", "30d"):
            medians = [statistics.median(took) for name, took in drawn.items() if name.startswith(f"{span}:")]
            page.tell(table, f"dashboard's slowest panel, {span}", "median", "ms", max(medians))
        await connection.close()
