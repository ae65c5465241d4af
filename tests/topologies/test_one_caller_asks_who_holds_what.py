"""A cluster's slots are asked for by one caller at a time; the others go by what is known, or wait."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

from mesh_store.redis.servers.cluster import Cluster
from mesh_store.redis.servers.cluster_async import AsyncCluster

SEED = ("127.0.0.1", 1)
SLOTS = [[0, 16_383, [b"127.0.0.1", 1, b"id"]]]


class Node:
    """A server that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked, self.begun, self.answers = 0, threading.Event(), threading.Event()
        self.answers.set()

    def execute_command(self, *args: Any) -> Any:
        if args[0] != "CLUSTER SLOTS":
            return b"PONG"
        self.asked += 1
        self.begun.set()
        assert self.answers.wait(60)
        return SLOTS


@pytest.fixture
def cluster() -> tuple[Cluster, Node]:
    client, node = Cluster([SEED], lambda host: redis.ConnectionPool(), deadline=5), Node()
    client._nodes[SEED] = node  # type: ignore[assignment]
    return client, node


def started(client: Cluster, count: int) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=client.execute_command, args=("GET", "a"), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads


def doubtful(client: Cluster | AsyncCluster) -> None:
    client._slots.doubt(SEED)
    client._slots._asked_at = float("-inf")


def test_whoever_comes_first_waits_for_the_one_who_asks(cluster: tuple[Cluster, Node]) -> None:
    client, node = cluster
    node.answers.clear()
    threads = started(client, 4)
    assert node.begun.wait(60)
    node.answers.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert node.asked == 1


def test_whoever_knows_the_slots_goes_by_them_meanwhile(cluster: tuple[Cluster, Node]) -> None:
    client, node = cluster
    client.execute_command("GET", "a")
    doubtful(client)
    node.begun.clear()
    node.answers.clear()
    [asking] = started(client, 1)
    assert node.begun.wait(60)
    client._slots._asked_at = float("-inf")  # the next one thinks it is time, too
    [other] = started(client, 1)
    other.join(60)
    assert not other.is_alive(), "it waited for an answer it could do without"
    node.answers.set()
    asking.join(60)
    assert node.asked == 2


def test_nobody_asks_while_nothing_says_that_it_changed(cluster: tuple[Cluster, Node]) -> None:
    client, node = cluster
    for _ in range(5):
        client.execute_command("GET", "a")
    assert node.asked == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(cluster: tuple[Cluster, Node]) -> None:
    client, _ = cluster
    assert client._asking.acquire()  # as a thread of the parent would hold it
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        client.execute_command("GET", "a")
        os._exit(0)
    client._asking.release()
    _, status = os.waitpid(child, 0)
    assert status == 0, "it waited for ever"


async def test_on_an_event_loop_too() -> None:
    client = AsyncCluster([SEED], lambda host: redis.asyncio.ConnectionPool(), deadline=5)
    asked, begun, answers = 0, asyncio.Event(), asyncio.Event()

    class AsyncNode:
        async def execute_command(self, *args: Any) -> Any:
            nonlocal asked
            if args[0] != "CLUSTER SLOTS":
                return b"PONG"
            asked += 1
            begun.set()
            await answers.wait()
            return SLOTS

    client._nodes[SEED] = AsyncNode()  # type: ignore[assignment]
    first = [asyncio.create_task(client.execute_command("GET", "a")) for _ in range(3)]
    await asyncio.sleep(0)
    answers.set()
    assert await asyncio.gather(*first) == [b"PONG"] * 3
    assert asked == 1
    doubtful(client)
    answers.clear()
    begun.clear()
    asking = asyncio.create_task(client.execute_command("GET", "a"))
    await begun.wait()
    client._slots._asked_at = float("-inf")
    async with asyncio.timeout(60):
        assert await client.execute_command("GET", "a") == b"PONG"
    answers.set()
    await asking
    assert asked == 2
