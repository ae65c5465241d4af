"""Everything is killed at random, again and again: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesh_store.telemetry import drain
from mesh_store.telemetry.collector import Collector

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAUSE_S = "0.002"
LEAST_KILLS = 6

SUMS = "sum(attempts), sum(calls), sum(lost), sum(input_tokens), sum(cost_pico_usd), sum(duration_us)"
RAW_SUMS = (
    "count(*), count(*), count(*) FILTER (WHERE outcome = 'lost'), sum(input_tokens), sum(cost_pico_usd),"
    " sum(duration_us)"
)


class Cast:
    """The processes of a run; a killed one is followed by another."""

    def __init__(self, home: Path, database_url: str, valkey: Any) -> None:
        self.home = home
        self.logs: list[Path] = []
        self.database_url = database_url
        self.valkey = valkey
        self.kills = {"producer": 0, "collector": 0, "valkey": 0}
        self.producers = [self.producer() for _ in range(2)]
        self.collectors = [self.collector() for _ in range(2)]

    def producer(self) -> subprocess.Popen[bytes]:
        self.logs.append(self.home / f"log{len(self.logs)}")
        return self._start("producer.py", str(self.home), self.valkey.url, str(self.logs[-1]), "0", PAUSE_S)

    def collector(self) -> subprocess.Popen[bytes]:
        return self._start("collecting.py", self.database_url, self.valkey.url)

    def kill(self, role: str) -> None:
        self.kills[role] += 1
        if role == "valkey":
            self.valkey.kill()
            self.valkey.start()
            return
        processes, start = {
            "producer": (self.producers, self.producer),
            "collector": (self.collectors, self.collector),
        }[role]
        victim = processes.pop(random.randrange(len(processes)))
        victim.kill()
        victim.wait()
        processes.append(start())

    def at_work(self) -> bool:
        """Tell whether some producer of those that live has recorded something."""
        return any(log.exists() for log in self.logs[-len(self.producers) :])

    def end(self) -> None:
        for process in (*self.producers, *self.collectors):
            process.kill()
            process.wait()

    def promised(self) -> list[str]:
        """Ids of the facts whose `done` had returned."""
        return [fact for log in self.logs if log.exists() for fact in log.read_text().split()]

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )


def rage(kit: Any, cast: Cast, seconds: float, seed: int) -> None:
    random.seed(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end or sum(cast.kills.values()) < LEAST_KILLS:
        time.sleep(random.uniform(0.2, 1.0))  # how long the play goes on, not a wait for something
        kit.eventually(cast.at_work, "there is somebody to kill at work", timeout=60)
        cast.kill(random.choices(["producer", "collector", "valkey"], [3, 3, 2])[0])
    cast.end()


async def settle_down(cast: Cast) -> None:
    """Drain and collect until every ring is empty."""
    collector = Collector(cast.database_url, cast.valkey.url, claim_s=0)
    deadline = time.monotonic() + 60
    while list((cast.home / "rings").glob("*.ring")):
        assert time.monotonic() < deadline, "the rings do not become empty"
        await asyncio.to_thread(drain, cast.home, cast.valkey.url)
        await collector.collect_once()
    await collector.close()


async def check(cast: Cast, postgres: Any) -> None:
    promised = cast.promised()
    rows = await postgres.fetch("SELECT id::text, call_id::text, outcome FROM usage_events")
    stored = {row["id"] for row in rows}
    assert len(promised) == len(set(promised))
    assert set(promised) - stored == set(), "lost after done() returned"
    assert len(rows) == len(stored) == len({row["call_id"] for row in rows}), "a call counted twice"
    rolled = await postgres.fetchrow(f"SELECT {SUMS} FROM usage_rollups WHERE grain = 'minute'")
    hourly = await postgres.fetchrow(f"SELECT {SUMS} FROM usage_rollups WHERE grain = 'hour'")
    daily = await postgres.fetchrow(f"SELECT {SUMS} FROM usage_rollups WHERE grain = 'day'")
    raw = await postgres.fetchrow(f"SELECT {RAW_SUMS} FROM usage_events")
    assert tuple(rolled) == tuple(hourly) == tuple(daily) == tuple(raw)
    assert await postgres.fetchval("SELECT count(*) FROM telemetry_dead") == 0
    print(f"{len(promised)} promised, {len(rows)} stored, kills {cast.kills}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.full)])
async def test_random_kills_of_producers_collectors_and_valkey_lose_and_double_nothing(
    seconds: float, kit: Any, tmp_path: Path, database_url: str, postgres: Any, valkey: Any
) -> None:
    cast = Cast(tmp_path, database_url, valkey)
    await asyncio.to_thread(rage, kit, cast, seconds, 20260101)
    await settle_down(cast)
    await check(cast, postgres)
