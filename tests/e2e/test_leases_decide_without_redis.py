"""Governed calls under a lease: no word to Redis before the provider, and every cent counted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from mesh_plugins import InvalidKey, QuotaExceeded, QuotaUnavailable
from mesh_plugins.mesh import Mesh
from mesh_store.telemetry.draining import drain
from tests.faults.books import money_is_exact
from tests.faults.relay import Relay

ASK = [{"role": "user", "content": "hi"}]
LIMITS = ("60k requests/min, burst 6000", "100M tokens/min", "200 concurrent", "$500/day")


class Questions:
    """Counts how often this process asked Redis about limits."""

    def __init__(self, mesh: Mesh) -> None:
        self.asked = 0
        guard = mesh._held.guard
        draw = guard.draw

        def counted(*arguments: Any) -> Any:
            drawn = draw(*arguments)
            self.asked += drawn is None
            return drawn

        guard.draw = counted  # type: ignore[method-assign]


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


def until_leased(mesh: Mesh, call: Callable[[], Any]) -> int:
    """Call until a call is decided in memory; return how many it took."""
    questions, calls = Questions(mesh), 0
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = questions.asked
        call()
        calls += 1
        if questions.asked == before:
            return calls
    raise AssertionError("nothing was leased in 30 s")


def test_a_hot_key_is_decided_in_memory_and_every_call_is_counted(priced: tuple[Any, str]) -> None:
    world, alias = priced
    mesh = world.mesh()
    calls = until_leased(mesh, lambda: mesh.chat(alias, ASK, max_tokens=8))
    questions = Questions(mesh)
    for _ in range(40):
        reply = mesh.chat(alias, ASK, max_tokens=8)
    assert questions.asked < 30
    assert all(left > 0 for left in reply.mesh.remaining.values())
    assert len(reply.mesh.remaining) == 4
    mesh.close()
    world.collect()
    rows = world.rows("e.outcome, e.reservation_id")
    assert [row["outcome"] for row in rows] == ["ok"] * (calls + 40)
    assert len({row["reservation_id"] for row in rows}) == calls + 40
    money_is_exact(world)


async def test_on_an_event_loop_too(make_world: Any) -> None:
    world = await asyncio.to_thread(make_world, limits=LIMITS[:3])
    alias = await asyncio.to_thread(world.alias)
    mesh = world.mesh()
    questions = Questions(mesh)
    for _ in range(60):
        await asyncio.gather(*[mesh.achat(alias, ASK, max_tokens=8) for _ in range(5)])
    assert questions.asked < 250
    await mesh.aclose()
    await asyncio.to_thread(world.collect)
    assert len(await asyncio.to_thread(world.rows, "e.id")) == 300


def test_with_redis_away_a_lease_is_spent_to_its_end(priced: tuple[Any, str]) -> None:
    world, alias = priced
    with Relay.to_redis(world.engines.redis_url) as relay:
        mesh = world.mesh(redis_url=relay.redis_url)
        until_leased(mesh, lambda: mesh.chat(alias, ASK, max_tokens=8))
        relay.toxics.refuse = True
        relay.reset()
        over = time.monotonic() + 60
        with pytest.raises(QuotaUnavailable):
            while time.monotonic() < over:
                mesh.chat(alias, ASK, max_tokens=8)
        assert mesh.limits_health().admitted_unenforced == 0
        relay.toxics.refuse = False


DIES = """
import os, signal, sys, time
from mesh_plugins.mesh import Mesh
from mesh_store.telemetry.draining import drain
mesh, alias = Mesh.from_env(), sys.argv[1]
ask = [{"role": "user", "content": "hi"}]
mesh.chat(alias, ask, max_tokens=8)
guard, asked = mesh._held.guard, []
draw = guard.draw
def counted(*given):
    drawn = draw(*given)
    asked.extend([1] if drawn is None else [])
    return drawn
guard.draw = counted
leased, deadline = 0, time.monotonic() + 30
while leased < 3:
    assert time.monotonic() < deadline
    count = len(asked)
    stream = mesh.stream(alias, ask, max_tokens=8)
    next(stream)
    leased += len(asked) == count
    if leased == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    list(stream)
"""


def test_a_holder_killed_in_the_middle_costs_what_its_calls_cost(priced: tuple[Any, str]) -> None:
    world, alias = priced
    died = subprocess.run(
        [sys.executable, "-c", DIES, alias], env={**os.environ, **world.environ}, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert drain(world.home, world.engines.redis_url).lost == 1
    world.collect()
    outcomes = [row["outcome"] for row in world.rows("e.outcome")]
    assert outcomes.count("lost") == 1
    money_is_exact(world)


def test_a_lowered_limit_ends_the_lease_at_once(make_world: Any) -> None:
    world = make_world()
    alias, mesh = world.alias(), world.mesh()
    most = "60k requests/min, burst 6000"
    limit = world.run(lambda admin: admin.create_limit(team=world.team, limit=most))
    until_leased(mesh, lambda: mesh.chat(alias, ASK))
    world.run(lambda admin: admin.update_limit(limit.id, limit="1 requests/day"))
    with pytest.raises(QuotaExceeded, match="1 requests/day"):
        mesh.chat(alias, ASK)


def test_a_lease_is_no_way_past_a_revocation(make_world: Any) -> None:
    world = make_world(limits=LIMITS[:1])
    alias, mesh = world.alias(), world.mesh()
    key_id, text = world.new_key()
    until_leased(mesh, lambda: mesh.chat(alias, ASK, key=text))
    world.run(lambda admin: admin.revoke_key(key_id))
    over = time.monotonic() + 60
    with pytest.raises(InvalidKey):
        while time.monotonic() < over:
            mesh.chat(alias, ASK, key=text)
    before = world.provider.count
    for _ in range(3):
        with pytest.raises(InvalidKey):
            mesh.chat(alias, ASK, key=text)
    assert world.provider.count == before


def test_the_switch_is_the_operators(make_world: Any) -> None:
    world = make_world(limits=LIMITS[:1])
    alias, mesh = world.alias(), world.mesh(leases=False)
    questions = Questions(mesh)
    for _ in range(60):
        mesh.chat(alias, ASK)
    assert questions.asked == 60
