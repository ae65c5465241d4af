"""What people wait for when they look at usage: dashboards, `mesh usage` and reports over many facts.

Run ``python tests/benchmarks/bench_usage.py [facts] [days] [home]`` (10 million in 30 days unless said). It
starts a Postgres of its own, in a home that is kept and filled once where one is named; makes facts in the
server and folds them with the collector's own statement; then prints milliseconds of every question, the
median and the worst of five.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from mesh_store.embedded import attach
from mesh_store.postgres import Database, usage_partitions, usage_write
from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage import last_used, usage_report
from mesh_store.telemetry.exporters import grafana

TEAMS, KEYS = 40, 400
#: Facts folded in one transaction.
CHUNK = 100_000
ROUNDS = 5
Questions = dict[str, Callable[[], Awaitable[Any]]]
#: What was measured and its unit, with a value for each time.
Measured = dict[tuple[str, str], list[float]]
#: The bound we hold ourselves to, milliseconds.
BOUND_MS = 200

#: Facts evenly through a span; few keys make most of the calls, and each team uses a few aliases.
MADE = """
INSERT INTO usage_staging (
    version, id, call_id, attempt, started_at_us, duration_us, ttft_us, outcome, operation, host, stream,
    team_id, user_id, key_id, alias, revision, provider_id, provider, request_model, input_tokens,
    output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens,
    audio_output_tokens, estimated, cost_pico_usd, estimate_tokens, tags, flags, cache_write_1h_tokens,
    image_input_tokens, image_output_tokens
)
SELECT
    1, minted, minted, 1, us, (exp(random() * 8) * 5000)::bigint, (exp(random() * 5) * 10000)::bigint,
    CASE WHEN random() < 0.98 THEN 'ok' ELSE 'error' END, 'chat', 'direct', false,
    'team-' || key % $4, 'user-' || key, 'key' || lpad(key::text, 5, '0'), 'alias-' || model, 1,
    'provider', 'openai', 'model-' || model, 800, 200, 100, 0, 0, 0, 0, false, 650000000, 1200, '{}', '{}',
    0, 0, 0
FROM (
    SELECT
        us, key, (key + floor(random() * 3)::int) % 12 AS model,
        (
            lpad(to_hex(us / 1000), 12, '0') || '7' || left(md5(n::text), 3) || '8' || right(md5(n::text), 15)
        )::uuid AS minted
    FROM (
        SELECT
            n, $2::bigint + (n - $1::bigint) * $3::bigint AS us,
            floor($5::int * power(random(), 3))::int AS key
        FROM generate_series($1::bigint, $1::bigint + $6::bigint - 1) AS n
    ) AS timed
) AS made
"""


async def fill(dsn: str, facts: int, days: int) -> float:
    """Make facts up to now and fold them; return how many a second."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET synchronous_commit = off")
    now = datetime.now(UTC)
    for back in range(days, -1, -usage_partitions.AHEAD // 2):
        await usage_partitions.ensure(connection, (now - timedelta(days=back)).date())
    await usage_partitions.ensure(connection, now.date())
    await usage_write.prepare(connection)
    fold = statements("usage_write")["fold"]
    apart_us = days * 86_400_000_000 // facts
    first_us = int(now.timestamp() * 1e6) - facts * apart_us
    began = time.perf_counter()
    for number in range(0, facts, CHUNK):
        count = min(CHUNK, facts - number)
        async with connection.transaction():
            await connection.execute(MADE, number, first_us + number * apart_us, apart_us, TEAMS, KEYS, count)
            await connection.fetchval(fold)
    took = time.perf_counter() - began
    await connection.close()
    return facts / took


def reports(database: Database) -> Questions:
    """Return what `mesh usage`, `mesh report` and `mesh key list` ask."""
    now = datetime.now(UTC)

    def ago(**span: float) -> datetime:
        return now - timedelta(**span)

    keys = [f"key{number:05}" for number in range(KEYS)]
    return {
        "usage": lambda: usage_report(database),
        "usage --since 1h --by team": lambda: usage_report(database, ("team",), ago(hours=1)),
        "usage --since 24h --by team --by alias": lambda: usage_report(
            database, ("team", "alias"), ago(hours=24)
        ),
        "usage --since 24h --by hour": lambda: usage_report(database, ("hour",), ago(hours=24)),
        "usage --since 7d --by user": lambda: usage_report(database, ("user",), ago(days=7)),
        "usage --since 30d --by key": lambda: usage_report(database, ("key",), ago(days=30)),
        "usage --since 30d --by day --by model": lambda: usage_report(
            database, ("day", "model"), ago(days=30)
        ),
        "usage --since 30d --team T": lambda: usage_report(
            database, ("user", "model"), ago(days=30), team="team-3"
        ),
        "report month, its smallest rows": lambda: usage_report(
            database,
            ("day", "user", "key", "alias", "provider", "model"),
            ago(days=30).replace(hour=0, minute=0),
            team="team-3",
        ),
        f"key list, {KEYS} keys": lambda: last_used(database, keys),
    }


def panels(connection: asyncpg.Connection) -> Questions:
    """Return what the dashboard over Postgres asks, for the spans people choose."""
    found: Questions = {}
    for name, span in (
        ("1h", timedelta(hours=1)),
        ("6h", timedelta(hours=6)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("30d", timedelta(days=30)),
    ):
        for panel in grafana.postgres()["panels"]:
            for target in panel["targets"]:
                query = target["rawSql"].replace("$__timeFilter(at)", "at > now() - interval '1 day'")
                found[f"{name}: {panel['title']}"] = lambda query=query, span=span: connection.fetch(
                    _rendered(query, span)
                )
    return found


def _rendered(query: str, span: timedelta) -> str:
    """Fill in what Grafana does, at the time of asking: the last hours or days."""
    now = datetime.now(UTC)
    for macro, moment in (("$__timeFrom()", now - span), ("$__timeTo()", now)):
        query = query.replace(macro, f"'{moment:%Y-%m-%dT%H:%M:%SZ}'")
    return query


async def ask(questions: Questions, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Ask every question; return milliseconds of each time."""
    found: dict[str, list[float]] = {}
    for name, question in questions.items():
        await question()
        for _ in range(rounds):
            began = time.perf_counter()
            await question()
            found.setdefault(name, []).append((time.perf_counter() - began) * 1000)
    return found


def show(found: dict[str, list[float]], *, all_of_them: bool) -> float:
    """Print the slow questions, or all; return the worst median in milliseconds."""
    for name, took in found.items():
        median = statistics.median(took)
        if all_of_them or median > BOUND_MS / 2:
            print(f"  {name:45} {median:8.1f} ms   worst {max(took):8.1f} ms")
    return worst_of(found)


def worst_of(found: dict[str, list[float]]) -> float:
    """Return the slowest question's median in milliseconds."""
    return max(map(statistics.median, found.values()))


#: What a table holds with its indexes and partitions.
SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = current_schema() AND c.relname LIKE $1
"""


async def growing(engines: Any, sizes: Sequence[int], days: int = 30) -> dict[int, Measured]:
    """Keep ever more facts of so many days, and ask every question at each size.

    Returns:
        For each number of facts, what was measured, its unit, and the values.
    """
    found: dict[int, Measured] = {}
    async with Database(engines.database_url) as database:
        await database.migrate()
        connection = await asyncpg.connect(engines.dsn)
        kept = 0
        for size in sizes:
            told: Measured = {("facts folded", "/s"): [await fill(engines.dsn, size - kept, days)]}
            kept = await connection.fetchval("SELECT count(*) FROM usage_events")
            await connection.execute("VACUUM ANALYZE usage_rollups")
            widest = {
                name: query for name, query in panels(connection).items() if name.startswith(f"{days}d:")
            }
            for what, questions in (("reports", reports(database)), ("panels", widest)):
                took = await ask(questions, 3)
                told[f"slowest of {what}", "ms"] = [worst_of(took)]
                told[f"median of {what}", "ms"] = [statistics.median(map(statistics.median, took.values()))]
            for what in ("usage_events", "usage_rollups"):
                size_b = await connection.fetchval(SIZE, f"{what}%")
                told[f"{what.replace('_', ' ')} on disk", "MB"] = [float(size_b) / 1e6]
            found[size] = told
        await connection.close()
    return found


async def main(facts: int, days: int, home: Path) -> None:
    """Fill and measure."""
    with attach(home) as engines:
        async with Database(engines.database_url) as database:
            await database.migrate()
            connection = await asyncpg.connect(engines.dsn)
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM usage_rollups)"):
                print(f"{await fill(engines.dsn, facts, days):,.0f} facts folded a second")
            rollups = "SELECT grain, count(*) AS n FROM usage_rollups GROUP BY 1 ORDER BY 2"
            for row in await connection.fetch(rollups):
                print(f"  {row['n']:>12,} sums per {row['grain']}")
            await connection.execute("VACUUM ANALYZE usage_rollups")  # as autovacuum would have by then
            print("mesh usage, mesh report, mesh key list:")
            reported = show(await ask(reports(database)), all_of_them=True)
            print(f"dashboard, panels above {BOUND_MS / 2:.0f} ms:")
            drawn = show(await ask(panels(connection)), all_of_them=False)
            print(f"slowest: {reported:.0f} ms of reports, {drawn:.0f} ms of the dashboard's panels")
            await connection.close()


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    span = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as directory:
        asyncio.run(main(size, span, Path(sys.argv[3] if len(sys.argv) > 3 else directory)))
