"""A client of a cluster, for one event loop: `mesh_store.redis.servers.cluster` says why it is ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import redis.asyncio
from redis import exceptions as redis_errors
from redis.asyncio.client import Pipeline

from mesh_store.redis.servers.address import Host
from mesh_store.redis.servers.cluster import CHANGED, REDIRECTED, UNCHANGED, not_a_cluster
from mesh_store.redis.servers.routing import key_of, slot_of
from mesh_store.redis.servers.slots import FIRST_PAUSE_S, MOST_REDIRECTIONS, Slots, redirected


class AsyncCluster(redis.asyncio.Redis):
    """Looks like `redis.asyncio.Redis`, and is spread over the primaries of a cluster; see `Cluster`."""

    def __init__(
        self,
        seeds: Sequence[Host],
        make_pool: Callable[[Host], redis.asyncio.ConnectionPool],
        *,
        deadline: float,
    ) -> None:
        super().__init__(connection_pool=make_pool(seeds[0]))
        self._make_pool = make_pool
        self._deadline = deadline
        self._slots = Slots(seeds)
        self._nodes: dict[Host, redis.asyncio.Redis] = {}
        self._asking = asyncio.Lock()

    def holder(self, tag: str) -> str:
        """Name the server that holds a hash tag, as last heard; ``""`` while nobody knows."""
        return self._slots.holder(slot_of(f"{{{tag}}}"))

    async def node_of(self, key: str | bytes) -> redis.asyncio.Redis:
        """Return the client of the server that holds a key."""
        await self._refresh()
        return self._node(self._slots.owner(slot_of(key)))

    def doubt(self, node: redis.asyncio.Redis) -> None:
        """Ask again who holds what before the next command: a server from `node_of` did not answer."""
        for host, known in list(self._nodes.items()):
            if known is node:
                self._slots.doubt(host)

    async def primaries(self) -> list[redis.asyncio.Redis]:
        """Return the clients of all servers that hold slots."""
        await self._refresh()
        return [self._node(host) for host in self._slots.primaries]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the server that holds its key, following redirections."""
        host, asking = await self._host_for(args), False
        pause, until = FIRST_PAUSE_S, time.monotonic() + self._deadline
        redirections = 0
        while redirections <= MOST_REDIRECTIONS:
            try:
                node = self._node(host)
                run: Callable[..., Any] = partial(_asked, node) if asking else node.execute_command
                return await run(*args, **options)
            except redis_errors.MovedError as error:
                host, asking = self._slots.moved(error, host), False
                redirections += 1
            except redis_errors.AskError as error:
                host, asking = redirected(error, host), True
                redirections += 1
            except redis_errors.TryAgainError:
                if time.monotonic() + pause > until:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
                # Back to the start: the source knows when all have gone.
                host, asking = await self._host_for(args), False
            except CHANGED as error:
                if not isinstance(error, UNCHANGED):
                    self._slots.doubt(host)
                raise
        raise redis_errors.ClusterError("redirected too often: the cluster does not agree who holds a slot")

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Collect commands, to be sent to each server in one go; no transactions."""
        if transaction:
            raise NotImplementedError("no transactions on a cluster: a script does the same")
        return _Pipeline(self)

    def pubsub(self, **options: Any) -> Any:
        """Subscribe at any server: the cluster tells all of them."""
        [host, *_] = self._slots.primaries or self._slots.whom_to_ask()
        return self._node(host).pubsub(**options)

    async def drop_idle(self) -> None:
        """Close the connections nobody uses just now."""
        for node in list(self._nodes.values()):
            await node.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        await super().aclose(close_connection_pool)
        for node in list(self._nodes.values()):
            await node.aclose()

    async def _host_for(self, args: tuple[Any, ...]) -> Host:
        await self._refresh()
        key = key_of(args)
        if key is not None:
            return self._slots.owner(slot_of(key))
        [first, *_] = self._slots.primaries or self._slots.whom_to_ask()
        return first

    def _node(self, host: Host) -> redis.asyncio.Redis:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes[host] = redis.asyncio.Redis.from_pool(self._make_pool(host))
        return node

    async def _refresh(self) -> None:
        # While another task asks, go by what was known, if anything was.
        if not self._slots.shall_ask() or (self._asking.locked() and self._slots.known):
            return
        async with self._asking:
            if self._slots.shall_ask():
                await self._ask()

    async def _ask(self) -> None:
        error: Exception | None = None
        until = time.monotonic() + 2 * self._deadline
        for host in self._slots.whom_to_ask():
            try:
                run: Callable[..., Any] = self._node(host).execute_command
                self._slots.learn(await run("CLUSTER SLOTS"), host)
            except UNCHANGED:
                raise
            except CHANGED as failed:
                error = failed
                if time.monotonic() > until:
                    break
            except redis_errors.NoPermissionError:
                raise
            except redis_errors.ResponseError as refused:
                raise not_a_cluster(refused) from refused
            else:
                await self._forget_the_gone()
                return
        if not self._slots.known and error is not None:
            raise error

    async def _forget_the_gone(self) -> None:
        for host in self._nodes.keys() - self._slots.servers:
            gone = self._nodes.pop(host, None)
            if gone is not None:
                await gone.connection_pool.disconnect(inuse_connections=False)


class _Pipeline(Pipeline):
    """Commands for several servers; what a server redirects is sent again by itself."""

    def __init__(self, cluster: AsyncCluster) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, False, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        cluster = self._cluster
        parts: dict[Host, list[int]] = {}
        for at, (args, _) in enumerate(stack):
            parts.setdefault(await cluster._host_for(args), []).append(at)
        replies: list[Any] = [None] * len(stack)
        for host, places in parts.items():
            pipeline = cluster._node(host).pipeline(transaction=False)
            pipeline.command_stack = [stack[at] for at in places]
            try:
                found = await pipeline.execute(raise_on_error=False)
            except CHANGED:
                cluster._slots.doubt(host)
                raise
            for at, reply in zip(places, found, strict=True):
                replies[at] = reply
        for at, reply in enumerate(replies):
            if isinstance(reply, REDIRECTED):
                replies[at] = await _tried(cluster, *stack[at])
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies


async def _asked(node: redis.asyncio.Redis, *args: Any, **options: Any) -> Any:
    """Send a command a server would redirect, with the word that it was sent on: on one connection."""
    pool = node.connection_pool
    async with redis.asyncio.Redis(connection_pool=pool, single_connection_client=True) as one:
        run: Callable[..., Any] = one.execute_command
        await run("ASKING")
        return await run(*args, **options)


async def _tried(cluster: AsyncCluster, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    try:
        return await cluster.execute_command(*args, **options)
    except redis_errors.ResponseError as error:
        return error
