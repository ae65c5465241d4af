"""From facts to rows: what a collector does in one transaction, against bare ways to write the rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec

from mesh_store.model.facts import Fact
from mesh_store.postgres import usage_write
from mesh_store.postgres.database import Database
from mesh_store.redis.stream import Batch
from mesh_store.telemetry.collector import COMMIT_FACTS
from mesh_store.telemetry.fact_store import FactStore

OURS = "mesh: rows, dedupe, rollups, ledger"
EXECUTEMANY = "asyncpg executemany, rows only"
COPY = "asyncpg COPY, rows only, no dedupe"
_encode = msgspec.msgpack.Encoder().encode
_NAMES = ["started_at" if name == "started_at_us" else name for name in usage_write.COLUMNS]
_VALUES = [
    f"'epoch'::timestamptz + ${place} * interval '1 microsecond'" if name == "started_at" else f"${place}"
    for place, name in enumerate(_NAMES, start=1)
]
_INTO = f"usage_events ({', '.join(_NAMES)})"
INSERT = f"INSERT INTO {_INTO} VALUES ({', '.join(_VALUES)}) ON CONFLICT (id) DO NOTHING"


async def collecting(
    database_url: str, dsn: str, rounds: int, fact: Callable[[], Fact]
) -> dict[str, list[float]]:
    """Return facts a second of each way, one figure a round; rounds are interleaved, the first warms up."""
    async with Database(database_url) as database:
        await database.migrate()
    store = await FactStore.open(dsn)
    bare = await asyncpg.connect(dsn)
    await bare.execute("CREATE TABLE copied AS SELECT * FROM usage_events WITH NO DATA")
    await bare.execute("ALTER TABLE copied ALTER started_at TYPE bigint USING 0")
    found: dict[str, list[float]] = {OURS: [], EXECUTEMANY: [], COPY: []}
    for _ in range(rounds + 1):
        facts = [msgspec.structs.replace(fact(), alias=f"a{n % 20}") for n in range(COMMIT_FACTS)]
        batches = [
            Batch("r", 1, at, at + 500, 500, _encode(facts[at : at + 500]))
            for at in range(0, COMMIT_FACTS, 500)
        ]
        started = time.perf_counter()
        await store.store(batches)
        found[OURS].append(COMMIT_FACTS / (time.perf_counter() - started))
        rows = [usage_write._row(fact()) for _ in range(COMMIT_FACTS)]
        started = time.perf_counter()
        async with bare.transaction():
            await bare.executemany(INSERT, rows)
        found[EXECUTEMANY].append(COMMIT_FACTS / (time.perf_counter() - started))
        found[COPY].append(await _copied(bare, rows))
    await bare.close()
    await store.close()
    return {name: values[1:] for name, values in found.items()}


async def _copied(bare: Any, rows: list[Any]) -> float:
    started = time.perf_counter()
    await bare.copy_records_to_table("copied", records=rows, columns=_NAMES)
    return len(rows) / (time.perf_counter() - started)
