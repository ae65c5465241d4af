"""What a governed call opened on an event loop is closed with it, however many loops a process runs."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

import httpx
import pytest

LOOPS = 15


def _open() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _comes_down_to(most: int) -> bool:
    """Wait: the provider, in this process too, hears a moment later that a connection is closed."""
    until = time.monotonic() + 30
    while (seen := _open()) > most and time.monotonic() < until:
        time.sleep(0.05)
    return seen <= most


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("alias", ["fast", "claude"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_per_call_leaves_nothing_open(
    litellm: Any, world: Any, messages: Any, alias: str, stream: bool
) -> None:
    async def call() -> None:
        answer = await litellm.acompletion(f"mesh/{alias}", messages, stream=stream)
        if stream:
            assert [chunk async for chunk in answer]

    asyncio.run(call())
    before, cached = _open(), len(litellm.in_memory_llm_clients_cache.cache_dict)
    for _ in range(LOOPS):
        asyncio.run(call())

    assert len(litellm.in_memory_llm_clients_cache.cache_dict) <= cached
    assert _comes_down_to(before + LOOPS // 3)
    assert world.provider.count == LOOPS + 1


def test_the_users_own_session_is_not_closed(
    litellm: Any, world: Any, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))
    monkeypatch.setattr(litellm, "aclient_session", session)

    async def call() -> None:
        await litellm.acompletion("mesh/fast", messages)

    asyncio.run(call())
    assert not session.is_closed
    asyncio.run(session.aclose())


def test_a_stream_of_threads_outlives_the_loop_it_began_on(litellm: Any, world: Any, messages: Any) -> None:
    async def begin() -> Any:
        return litellm.completion("mesh/fast", messages, stream=True)

    cached = len(litellm.in_memory_llm_clients_cache.cache_dict)
    stream = asyncio.run(begin())
    assert len(litellm.in_memory_llm_clients_cache.cache_dict) <= cached
    assert list(stream)
    assert [fact.outcome for fact in world.recorder.facts] == ["ok"]
