"""Killed after the grant and before anything was sent: what the budget promised comes back with the drain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
import redis

from mesh_store.telemetry.draining import drain
from tests.faults.books import money_is_exact

LIMITS = ("2 requests/hour, burst 2", "100M tokens/day", "20 concurrent", "$500/day")

#: Each replaces what comes right after the grant by the end of the process.
DIES = """
import asyncio, os, signal, sys, time
from mesh_plugins.mesh import Mesh
mesh, alias, way = Mesh.from_env(), sys.argv[1], sys.argv[2]
ask = [{"role": "user", "content": "hi"}]
die = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
mesh.chat(alias, ask, max_tokens=8)
assert mesh.flush(30)
if way == "waiting":
    mesh.chat(alias, ask, max_tokens=8)
    assert mesh.flush(30)
    time.sleep = die
    mesh.chat(alias, ask, max_tokens=8, max_wait_s=3600)
mesh._held.recorder.intent = die
if way == "async":
    asyncio.run(mesh.achat(alias, ask, max_tokens=8))
if way == "stream":
    mesh.stream(alias, ask, max_tokens=8)
mesh.chat(alias, ask, max_tokens=8)
"""


@pytest.fixture
def priced(make_world: Any) -> tuple[Any, str]:
    """A team whose calls cost money, and its alias."""
    world = make_world(limits=LIMITS)
    alias = world.alias()
    world.run(
        lambda admin: admin.set_price(
            provider=world.name("local"), model="small", input=Decimal("0.25"), output=Decimal(2)
        )
    )
    world.collect()
    return world, alias


def promised(world: Any) -> list[str]:
    """What is open in the team's budget by reservations nobody settled."""
    [row] = world.query("SELECT id FROM teams WHERE name = $1", world.team)
    with redis.Redis.from_url(world.engines.redis_url, decode_responses=True) as client:
        windows = client.keys(f"[{{]{row['id']}}}:q:*:w:*")
        return [name for window in windows for name in client.hkeys(window) if name.startswith("r:")]


@pytest.mark.parametrize("way", ["sync", "async", "stream", "waiting"])
def test_its_estimate_is_given_back_and_no_call_is_told_lost(priced: tuple[Any, str], way: str) -> None:
    world, alias = priced
    died = subprocess.run(
        [sys.executable, "-c", DIES, alias, way],
        env={**os.environ, **world.environ, "MESH_LEASES": "false"},
        timeout=120,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    world.collect()
    assert len(promised(world)) == 1, "it was not killed while it held something"
    assert drain(world.home, world.engines.redis_url, timeout_s=30).lost == 0
    world.collect()
    assert {row["outcome"] for row in world.rows("e.outcome")} == {"ok"}
    money_is_exact(world)
