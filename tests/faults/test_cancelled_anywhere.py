"""Cancelled at every single await: the call has one ending, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mesh_plugins.mesh import Mesh
from tests.faults.conftest import Priced
from tests.faults.cutting import cut_at

SEED = 20261123
Play = Callable[[Mesh, dict[str, Any]], Coroutine[Any, Any, None]]


async def chat(mesh: Mesh, asked: dict[str, Any]) -> None:
    await mesh.achat(**asked)


async def stream(mesh: Mesh, asked: dict[str, Any]) -> None:
    async for _ in await mesh.astream(**asked):
        pass


async def cut(play: Play, mesh: Mesh, asked: dict[str, Any], at: int) -> bool:
    """Play and cancel; tell whether there was such an await."""
    return await cut_at(play(mesh, asked), at)


@pytest.mark.parametrize("leases", [False, True], ids=["asked", "leased"])
@pytest.mark.parametrize("play", [chat, stream])
def test_at_every_await_one_after_the_other(priced: Priced, play: Play, leases: bool) -> None:
    mesh, team = priced.world.mesh(leases=leases), priced.world.team

    async def each_await(name: str, *, warm: bool) -> int:
        at = 1
        while await cut(play, mesh, priced.asked(f"{name}-{at}"), at):
            at += 1
            assert at < 500, "a call of so many awaits is none"
            if warm:  # who was cancelled took its connections along
                await play(mesh, priced.asked(f"{name}-{at}-between"))
        return at - 1

    async def through() -> int:
        await play(mesh, priced.asked(f"{team}-first"))
        awaits = await each_await(f"{team}-cold", warm=False)
        await play(mesh, priced.asked(f"{team}-second"))
        awaits = max(awaits, await each_await(f"{team}-warm", warm=True))
        gc.collect()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=30)  # what was taken is being given back
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await mesh.aclose()
        return awaits

    awaits = asyncio.run(through())
    assert awaits >= 1
    ended = priced.check()
    assert ended["ok"] >= 2, "the first and the last were not cancelled"
    assert ended["cancelled"] + ended["abandoned"] >= 1
    assert set(ended) <= {"ok", "cancelled", "abandoned"}


@pytest.mark.parametrize("calls", [150, pytest.param(3000, marks=pytest.mark.full)])
def test_in_a_storm_of_calls_at_any_of_their_awaits(priced: Priced, calls: int) -> None:
    mesh, team = priced.world.mesh(), priced.world.team
    chance = random.Random(SEED)
    print(f"seed {SEED}")

    async def through() -> None:
        room = asyncio.Semaphore(100)

        async def one(number: int) -> None:
            async with room:
                play = chance.choice((chat, stream))
                await cut(play, mesh, priced.asked(f"{team}-{number}"), chance.randint(1, 12))

        await asyncio.gather(*[one(number) for number in range(calls)])
        gc.collect()
        await mesh.achat(**priced.asked(f"{team}-after"))
        await mesh.aclose()

    asyncio.run(through())
    ended = priced.check()
    assert sum(ended.values()) <= calls + 1
    assert ended["cancelled"] > calls / 10
