"""Cancelled at every single await: the call has one ending, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

import pytest

from mesh_plugins.mesh import Mesh
from tests.faults.conftest import Priced

SEED = 20261123
Play = Callable[[Mesh, dict[str, Any]], Coroutine[Any, Any, None]]


class CutAt:
    """Awaits a coroutine and cancels its task at the await of the given number.

    Attributes:
        awaits: how many times it waited.
    """

    def __init__(self, inner: Coroutine[Any, Any, None], at: int) -> None:
        self.awaits = 0
        self._inner, self._at = inner, at

    def __await__(self) -> Generator[Any, Any, None]:
        error: BaseException | None = None
        while True:
            try:
                future = self._inner.throw(error) if error else self._inner.send(None)
            except StopIteration:
                return
            self.awaits += 1
            if self.awaits == self._at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                error = None
                yield future
            except BaseException as raised:  # whatever the loop throws belongs to the coroutine
                error = raised


async def chat(mesh: Mesh, asked: dict[str, Any]) -> None:
    await mesh.achat(**asked)


async def stream(mesh: Mesh, asked: dict[str, Any]) -> None:
    async for _ in await mesh.astream(**asked):
        pass


async def cut(play: Play, mesh: Mesh, asked: dict[str, Any], at: int) -> bool:
    """Play and cancel; tell whether there was such an await."""
    cutting = CutAt(play(mesh, asked), at)

    async def through() -> None:
        await cutting

    with suppress(asyncio.CancelledError):
        await asyncio.create_task(through())
    return cutting.awaits >= at


@pytest.mark.parametrize("leases", [False, True], ids=["asked", "leased"])
@pytest.mark.parametrize("play", [chat, stream])
def test_at_every_await_one_after_the_other(priced: Priced, play: Play, leases: bool) -> None:
    mesh, team = priced.world.mesh(leases=leases), priced.world.team

    async def through() -> int:
        await play(mesh, priced.asked(f"{team}-first"))
        at = 1
        while await cut(play, mesh, priced.asked(f"{team}-{at}"), at):
            at += 1
            assert at < 500, "a call of so many awaits is none"
        gc.collect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await mesh.aclose()
        return at - 1

    awaits = asyncio.run(through())
    assert awaits >= 2
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
