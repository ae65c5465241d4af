"""A process that runs each call on an event loop of its own does not grow by what belonged to them."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings

ASK = [{"role": "user", "content": "hi"}]
LOOPS = 20


def _closed_without_a_word(main):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def _kept_of_ended_loops(world, alias, run) -> int:
    seen = []
    with Mesh(Settings.from_env(world.environ, leases=False)) as mesh:

        async def call():
            await mesh.achat(alias, ASK, max_tokens=8)
            seen.append(weakref.ref(asyncio.get_running_loop()))

        for _ in range(LOOPS):
            run(call())
        for _ in range(3):
            gc.collect()
        return sum(loop() is not None for loop in seen)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a loop that ends without a word
@pytest.mark.parametrize("run", [asyncio.run, _closed_without_a_word])
def test_no_ended_loop_is_kept(make_world, run):
    world = make_world(limits=("1000/min",))

    kept = _kept_of_ended_loops(world, world.alias(), run)

    assert kept <= LOOPS // 3, "each that keeps clients keeps the last ended loop's until it meets another"
    gc.collect()  # what that loop left open goes here, where its warnings are ignored
