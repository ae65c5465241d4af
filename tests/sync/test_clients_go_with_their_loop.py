"""Redis clients of event loops are forgotten with their loop, however it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mesh_store.sync.loops import ClientPerLoop
from tests.engines import Engines

LOOPS = 20


def _closed_without_a_word(main: Coroutine[Any, Any, Any]) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("run", [asyncio.run, _closed_without_a_word])
def test_a_loop_that_ended_is_not_kept(mesh_engines: Engines, run: Callable[[Any], Any]) -> None:
    clients = ClientPerLoop(mesh_engines.redis_url, deadline=30)
    seen: list[weakref.ref[Any]] = []

    async def ask() -> None:
        client = await clients.client()
        assert await clients.client() is client
        assert await client.ping()
        seen.extend((weakref.ref(asyncio.get_running_loop()), weakref.ref(client)))

    for _ in range(LOOPS):
        run(ask())
    gc.collect()

    left = [kept for kept in seen if kept() is not None]
    assert len(left) <= 2, "at most the last loop and its client"
    asyncio.run(ask())  # which lets go of the last one, here, where its warnings are ignored
    gc.collect()
