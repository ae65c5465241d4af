"""What a client learns of who holds what, from what servers say; in both colours, over servers of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
from redis import exceptions as redis_errors

from mesh_store.redis.servers.cluster import Cluster
from mesh_store.redis.servers.cluster_async import AsyncCluster
from mesh_store.redis.servers.routing import slot_of
from mesh_store.redis.servers.slots import MOST_REDIRECTIONS

FIRST, SECOND = ("127.0.0.1", 1), ("127.0.0.1", 2)
SLOT = slot_of("a")


class Pool:
    """Connections that only know whether they were let go."""

    def __init__(self) -> None:
        self.left = False

    def disconnect(self, inuse_connections: bool = True) -> None:
        self.left = True


class AsyncPool(Pool):
    async def disconnect(self, inuse_connections: bool = True) -> None:  # type: ignore[override]
        self.left = True


class Servers:
    """Servers by their address; ``says`` answers what is asked of one."""

    def __init__(self, says: Callable[[Any, tuple[Any, ...]], Any], colour: str) -> None:
        self.asked: list[Any] = []
        self.sync = colour == "sync"
        self._says = says
        pool: Any = redis.ConnectionPool if self.sync else redis.asyncio.ConnectionPool
        kind: Any = Cluster if self.sync else AsyncCluster
        self.client: Any = kind([FIRST], lambda host: pool(), deadline=0.5)
        self.client._nodes |= {host: self._node(host) for host in (FIRST, SECOND)}

    async def run(self, *args: Any) -> Any:
        done = self.client.execute_command(*args)
        return done if self.sync else await done

    async def node_of(self, key: str) -> Any:
        node = self.client.node_of(key)
        return node if self.sync else await node

    def _node(self, host: Any) -> Any:
        def answer(*args: Any) -> Any:
            if args[0] != "CLUSTER SLOTS":
                self.asked.append(host)
            reply = self._says(host, args)
            if isinstance(reply, Exception):
                raise reply
            return reply

        async def aanswer(*args: Any) -> Any:
            return answer(*args)

        class Node:
            connection_pool = Pool() if self.sync else AsyncPool()
            execute_command = staticmethod(answer if self.sync else aanswer)

        return Node()


def slots(owner: Any) -> Any:
    """All slots are one server's, as ``CLUSTER SLOTS`` says it."""
    return [[0, 16_383, [owner[0].encode(), owner[1], b"id"]]]


def moved(to: str) -> Exception:
    return redis_errors.MovedError(f"{SLOT} {to}")


both = pytest.mark.parametrize("colour", ["sync", "async"])


@both
async def test_servers_that_have_gone_are_let_go_of(colour: str) -> None:
    seen = Servers(lambda host, args: slots(FIRST) if args[0] == "CLUSTER SLOTS" else b"PONG", colour)
    gone = seen.client._nodes[SECOND]
    assert await seen.run("GET", "a") == b"PONG"
    assert (SECOND in seen.client._nodes, gone.connection_pool.left) == (False, True)


@both
async def test_servers_that_send_each_other_what_is_asked_are_not_asked_for_ever(colour: str) -> None:
    def says(host: Any, args: Any) -> Any:
        if args[0] == "CLUSTER SLOTS":
            return [[0, 16_383, [b"127.0.0.1", 1, b"id"], [b"127.0.0.1", 2, b"id"]]]
        return moved("127.0.0.1:2" if host == FIRST else "127.0.0.1:1")

    seen = Servers(says, colour)
    with pytest.raises(redis_errors.ClusterError, match="redirected too often"):
        await seen.run("GET", "a")
    assert len(seen.asked) == MOST_REDIRECTIONS + 1


@both
async def test_who_was_told_where_a_slot_went_goes_there_at_once_and_asks_about_the_others(
    colour: str,
) -> None:
    def says(host: Any, args: Any) -> Any:
        if args[0] == "CLUSTER SLOTS":
            return [[0, 16_383, [b"127.0.0.1", 1, b"id"], [b"127.0.0.1", 2, b"id"]]]
        # A server that names no host means its own.
        return moved(":2") if host == FIRST else b"PONG"

    seen = Servers(says, colour)
    assert await seen.run("GET", "a") == b"PONG"
    assert seen.asked == [FIRST, SECOND]
    assert not seen.client._slots.shall_ask(), "it asked a moment ago"
    assert await seen.run("GET", "a") == b"PONG"
    assert seen.asked == [FIRST, SECOND, SECOND]
    seen.client._slots._asked_at = float("-inf")
    assert seen.client._slots.shall_ask()


@both
async def test_a_slot_that_nobody_holds_is_asked_for_again(colour: str) -> None:
    told = [[], slots(FIRST)]
    seen = Servers(lambda host, args: told.pop(0) if args[0] == "CLUSTER SLOTS" else b"PONG", colour)
    with pytest.raises(redis_errors.ClusterDownError):
        await seen.run("GET", "a")
    seen.client._slots._asked_at = float("-inf")
    assert await seen.run("GET", "a") == b"PONG"


@both
async def test_doubt_about_a_server_asks_who_holds_what_and_asks_it_last(colour: str) -> None:
    def says(host: Any, args: Any) -> Any:
        return [[0, 16_383, [b"127.0.0.1", 1, b"id"], [b"127.0.0.1", 2, b"id"]]]

    seen = Servers(says, colour)
    node = await seen.node_of("a")
    seen.client._slots._asked_at = float("-inf")
    assert not seen.client._slots.shall_ask()
    seen.client.doubt(node)
    assert seen.client._slots.shall_ask()
    assert seen.client._slots.whom_to_ask()[-1] == FIRST


@both
async def test_a_wrong_password_says_nothing_of_who_holds_what(colour: str) -> None:
    seen = Servers(
        lambda host, args: slots(FIRST) if args[0] == "CLUSTER SLOTS" else redis_errors.AuthenticationError(),
        colour,
    )
    with pytest.raises(redis_errors.AuthenticationError):
        await seen.run("GET", "a")
    seen.client._slots._asked_at = float("-inf")
    assert not seen.client._slots.shall_ask()
