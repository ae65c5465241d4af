"""What a large manifest costs: 1,000 teams, 5,000 users, 10,000 limits, on a Postgres that means it.

Run ``python tests/benchmarks/bench_manifest.py``; it starts a Postgres of its own, durable as delivered, and
prints seconds of wall clock and of this process's CPU, with the machine's load beside them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh_store.admin import manifest
from mesh_store.admin.manifest.planning import make_plan
from mesh_store.embedded import attach
from mesh_store.postgres import Database
from mesh_store.postgres.repository import Repository

TEAMS, USERS_EACH, ALIASES = 1_000, 5, 10
TEAM_LIMITS = "[600 requests/min, 200k tokens/min, $50/day, 20 concurrent, 1M tokens/day]"


def text() -> str:
    """A manifest with five members, five limits and five limits on aliases in every team."""
    lines = ["version: 1", "users:"]
    lines += [f"  - {{name: user{n}@example.com}}" for n in range(TEAMS * USERS_EACH)]
    lines.append("teams:")
    for team in range(TEAMS):
        members = ", ".join(f"user{team * USERS_EACH + n}@example.com" for n in range(USERS_EACH))
        lines.append(f"  - {{name: team{team}, members: [{members}], limits: {TEAM_LIMITS}}}")
    lines.append("providers: [{name: openai, kind: openai, secret: 'env:OPENAI_API_KEY'}]")
    lines.append("aliases:")
    lines += [f"  - {{name: alias{n}, targets: [{{provider: openai, model: m{n}}}]}}" for n in range(ALIASES)]
    lines.append("limits:")
    for team in range(TEAMS):
        lines += [f"  - {{team: team{team}, alias: alias{n}, limit: 60 requests/min}}" for n in range(5)]
    return "\n".join(lines)


@contextmanager
def timed(what: str, bound: str = "") -> Iterator[None]:
    """Print how long the block takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:32} {wall:6.2f} s wall {cpu:6.2f} s cpu   load {os.getloadavg()[0]:.1f}   {bound}")


async def measure(url: str) -> None:
    """Read, apply, apply again, change a tenth, export."""
    async with Database(url) as database:
        await database.migrate()
        repo = Repository(database, actor="benchmark")
        written = text()
        with timed("parse"):
            said = manifest.parse(written, "mesh.yaml")
        with timed("apply to an empty database", "< 30 s on 2 quiet cores"):
            made = await manifest.apply(repo, *said)
        assert len(made.changes) == TEAMS * (1 + 2 * USERS_EACH + 10) + ALIASES + 1
        with timed("read what there is"):
            present = await manifest.read_settled(repo)
        with timed("plan"):
            assert make_plan(*said, present).changes == ()
        with timed("apply again"):
            assert (await manifest.apply(repo, *said)).changes == ()
        with timed("export"):
            manifest.export(present)
        changed = manifest.parse(written.replace("600 requests", "700 requests"), "mesh.yaml")
        with timed(f"change {TEAMS} limits"):
            assert len((await manifest.apply(repo, *changed)).changes) == TEAMS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, attach(Path(home), linger=0.1) as engines:
        asyncio.run(measure(engines.database_url))
