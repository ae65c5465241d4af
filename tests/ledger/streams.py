"""How streams may end."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mesh_plugins import ProviderError
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger.table import Doors, asked, cancelled, ending, endless


@ending("ok")
def stream_read_to_its_end(doors: Doors, provider: StandInProvider) -> None:
    list(doors.stream())


@ending("ok")
async def astream_read_to_its_end(doors: Doors, provider: StandInProvider) -> None:
    [chunk async for chunk in await doors.astream()]


@ending("ok", told=False)
def stream_without_usage(doors: Doors, provider: StandInProvider) -> None:
    provider.script(usage=None)
    assert list(doors.stream())


@ending("ok", told=False)
async def astream_without_usage(doors: Doors, provider: StandInProvider) -> None:
    provider.script(usage=None)
    assert [chunk async for chunk in await doors.astream()]


@ending("error")
def provider_refuses_a_stream(doors: Doors, provider: StandInProvider) -> None:
    provider.script(status=400)
    with pytest.raises(ProviderError):
        list(doors.stream())


@ending("error", "ok")
async def stream_retried_before_its_first_chunk(doors: Doors, provider: StandInProvider) -> None:
    provider.script(status=503, times=1)
    [chunk async for chunk in await doors.astream()]


@ending("abandoned", aborted=1)
def stream_left_by_break(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    for _ in doors.stream():
        break
    gc.collect()


@ending("abandoned", aborted=1)
async def astream_left_by_break(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    async for _ in await doors.astream():
        break
    gc.collect()


@ending("abandoned", aborted=1)
def stream_closed_twice(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    stream: Any = doors.stream()
    next(stream)
    stream.close()
    stream.close()


@ending("abandoned", aborted=1)
async def astream_closed_twice(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    stream: Any = await doors.astream()
    await anext(stream)
    await stream.aclose()
    await stream.aclose()


@ending("abandoned", aborted=1)
def stream_closed_by_another_thread(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    stream: Any = doors.stream()
    next(stream)
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()


@ending("ok")
def stream_read_by_another_thread(doors: Doors, provider: StandInProvider) -> None:
    stream = doors.stream()
    next(stream)
    thread = threading.Thread(target=list, args=(stream,))
    thread.start()
    thread.join()


@ending("abandoned", aborted=1)
def stream_never_read(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    stream = doors.stream()
    del stream
    gc.collect()


@ending("abandoned", aborted=1)
async def astream_never_read(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    stream = await doors.astream()
    del stream
    gc.collect()


@ending()
async def never_awaited(doors: Doors, provider: StandInProvider) -> None:
    for asking in (doors.acall(), doors.astream()):
        asking.close()  # type: ignore[attr-defined] - a coroutine


@ending("abandoned", aborted=1)
def consumer_raises(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    with suppress(ZeroDivisionError):
        for _ in doors.stream():
            raise ZeroDivisionError
    gc.collect()


@ending("abandoned", aborted=1)
async def consumer_on_a_loop_raises(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    with suppress(ZeroDivisionError):
        async for _ in await doors.astream():
            raise ZeroDivisionError
    gc.collect()


@ending("abandoned", aborted=1)
def generator_over_a_stream_held_and_closed(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)

    def words() -> Iterator[Any]:
        yield from doors.stream()

    held = words()
    next(held)
    held.close()
    gc.collect()


@ending("incomplete")
def stream_broken_off(doors: Doors, provider: StandInProvider) -> None:
    provider.script(cut_after=3)
    with pytest.raises(ProviderError):
        list(doors.stream())


@ending("incomplete")
async def astream_ended_without_a_finish(doors: Doors, provider: StandInProvider) -> None:
    provider.script(end_after=3)
    with pytest.raises(ProviderError):
        [chunk async for chunk in await doors.astream()]


@ending("cancelled", aborted=1)
async def stream_cancelled_before_its_first_chunk(doors: Doors, provider: StandInProvider) -> None:
    provider.script(latency_s=30)
    task = asyncio.create_task(doors.astream())
    await asked(provider)
    await cancelled(task)


@ending("cancelled", aborted=1)
async def stream_cancelled_between_chunks(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    first = asyncio.Event()

    async def read() -> None:
        async for _ in await doors.astream():
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    await cancelled(task)


@ending("timeout", aborted=1)
def deadline_passes_between_chunks(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    with pytest.raises(ProviderError):
        list(doors.stream(deadline_s=0.3))


@ending("timeout", aborted=1)
async def deadline_passes_between_chunks_on_a_loop(doors: Doors, provider: StandInProvider) -> None:
    endless(provider)
    with pytest.raises(ProviderError):
        [chunk async for chunk in await doors.astream(deadline_s=0.3)]
