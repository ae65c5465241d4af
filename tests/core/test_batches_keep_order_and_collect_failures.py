"""``mesh.map``: as many at once as asked, answers in the order of the prompts."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mesh_plugins import batch
from mesh_store.model.errors import ConfigError, MeshError, QuotaExceeded


def test_order_is_kept_and_a_refused_prompt_leaves_its_error():
    def ask(prompt):
        if prompt == 3:
            raise QuotaExceeded("full")
        return prompt * 10

    done = []
    results = batch.run(ask, range(6), concurrency=3, progress=done.append)
    assert results[:3] == [0, 10, 20]
    assert isinstance(results[3], QuotaExceeded)
    assert results[4:] == [40, 50]
    assert done == [1, 2, 3, 4, 5, 6]


def test_never_more_at_once_than_asked_for_and_prompts_are_drawn_lazily():
    gate, running, most, drawn = threading.Semaphore(0), 0, 0, []
    lock = threading.Lock()

    def prompts():
        for number in range(12):
            drawn.append(number)
            yield number

    def ask(prompt):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            ahead = len(drawn)
        gate.release()
        gate.acquire()
        with lock:
            running -= 1
        return ahead

    results = batch.run(ask, prompts(), concurrency=4)
    assert most <= 4
    assert results[0] <= 5


def test_what_is_no_mesh_error_ends_the_batch():
    def ask(prompt):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batch.run(ask, range(100), concurrency=2)


async def test_tasks_do_the_same():
    most = running = 0

    async def ask(prompt):
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if prompt == 1:
            raise MeshError("no")
        return prompt

    results = await batch.arun(ask, range(20), concurrency=5)
    assert [r for r in results if isinstance(r, int)] == [0, *range(2, 20)]
    assert isinstance(results[1], MeshError)
    assert most == 5


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, 10_000])
def test_a_senseless_concurrency_is_refused(concurrency):
    with pytest.raises(ConfigError, match="concurrency"):
        batch.run(str, [], concurrency=concurrency)


def test_a_text_becomes_a_message():
    assert batch.as_messages("hi") == [{"role": "user", "content": "hi"}]
    assert batch.as_messages([{"role": "system"}]) == [{"role": "system"}]
