"""Postgres goes away in the middle of a COPY, with more to write than a socket takes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from mesh_store.postgres import copying, usage_write
from mesh_store.telemetry.fact_store import FactStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP there")


class Stalled:
    """A store whose server stops reading when the first row is asked for."""

    def __init__(self, store: FactStore) -> None:
        self.connection = store._connection
        self.pid = self.connection.get_server_pid()
        self.begun = asyncio.Event()

    def rows(self) -> Iterator[Any]:
        os.kill(self.pid, signal.SIGSTOP)
        self.begun.set()
        for _ in range(1000):
            yield None, "r", "x" * 20_000, 1, 2, 3

    def stage(self) -> asyncio.Task[None]:
        return asyncio.create_task(usage_write.stage_money(self.connection, self.rows()))  # type: ignore[arg-type]


@pytest.fixture
async def stalled(database_url: str) -> Any:
    store = await FactStore.open(database_url)
    made = Stalled(store)
    yield made
    os.kill(made.pid, signal.SIGCONT)
    store.terminate()


async def test_a_lost_connection_ends_the_copy_that_waits_for_it(stalled: Stalled) -> None:
    task = stalled.stage()
    await stalled.begun.wait()
    stalled.connection._transport.abort()
    _, pending = await asyncio.wait({task}, timeout=60)
    assert not pending, "it waits for ever"
    assert isinstance(task.exception(), OSError | asyncpg.PostgresConnectionError)


async def test_a_server_that_reads_nothing_is_given_up_in_time(
    stalled: Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COPY_S", 0.3)
    task = stalled.stage()
    _, pending = await asyncio.wait({task}, timeout=60)
    assert not pending, "it waits for ever"
    assert isinstance(task.exception(), TimeoutError)


async def test_the_last_words_of_a_lost_connection_are_heard_and_nobody_elses_are() -> None:
    """asyncpg forgets a future that holds them; a loop would print it when it is collected."""
    loop, heard = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: heard.append(str(context.get("exception"))))
    for _ in range(2):
        copying.hear_last_words(loop)
    for error in (asyncpg.ConnectionDoesNotExistError("lost"), ValueError("a bug")):
        loop.create_future().set_exception(error)
    gc.collect()
    assert heard == ["a bug"]
    loop.set_exception_handler(None)


async def test_a_cancelled_copy_ends(stalled: Stalled) -> None:
    task = stalled.stage()
    await stalled.begun.wait()
    task.cancel()
    _, pending = await asyncio.wait({task}, timeout=60)
    assert not pending
    assert task.cancelled()
