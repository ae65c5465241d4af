"""A client of a cluster, for threads: a plain client a server, each command sent where its key lives.

redis-py's own cluster client connects when it is made, asks every server for its list of commands (200
KB), sleeps 250 ms on ``CLUSTERDOWN`` and up to 400 ms on ``TRYAGAIN`` in the caller's thread, whatever its
timeouts: a decision has 50 ms. So only the map of slots and the redirections are ours; connections,
protocol, credentials, TLS and every method are redis-py's.

Nothing is retried here except what a server said it did not do: ``MOVED``, ``ASK`` and, within one
deadline, ``TRYAGAIN``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.client import Pipeline

from mesh_store.redis.servers.address import Host
from mesh_store.redis.servers.mistakes import Misconfigured
from mesh_store.redis.servers.routing import key_of, slot_of
from mesh_store.redis.servers.slots import FIRST_PAUSE_S, MOST_REDIRECTIONS, Slots, redirected

#: What says that the map of slots may be out of date.
CHANGED = (redis_errors.ConnectionError, redis_errors.TimeoutError, redis_errors.ClusterDownError)
#: What says nothing about the servers.
UNCHANGED = (redis_errors.AuthenticationError, redis_errors.MaxConnectionsError)


class Cluster(redis.Redis):
    """Looks like `redis.Redis`, and is spread over the primaries of a cluster.

    Args:
        seeds: some of its servers.
        make_pool: makes the connections to one server.
        deadline: seconds one command may wait for keys that are on their way.
    """

    def __init__(
        self, seeds: Sequence[Host], make_pool: Callable[[Host], redis.ConnectionPool], *, deadline: float
    ) -> None:
        super().__init__(connection_pool=make_pool(seeds[0]))
        self._make_pool = make_pool
        self._deadline = deadline
        self._slots = Slots(seeds)
        self._nodes: dict[Host, redis.Redis] = {}
        self._asking = threading.Lock()
        self._pid = os.getpid()

    def holder(self, tag: str) -> str:
        """Name the server that holds a hash tag, as last heard; ``""`` while nobody knows."""
        return self._slots.holder(slot_of(f"{{{tag}}}"))

    def node_of(self, key: str | bytes) -> redis.Redis:
        """Return the client of the server that holds a key."""
        self._refresh()
        return self._node(self._slots.owner(slot_of(key)))

    def doubt(self, node: redis.Redis) -> None:
        """Ask again who holds what before the next command: a server from `node_of` did not answer."""
        for host, known in list(self._nodes.items()):
            if known is node:
                self._slots.doubt(host)

    def primaries(self) -> list[redis.Redis]:
        """Return the clients of all servers that hold slots."""
        self._refresh()
        return [self._node(host) for host in self._slots.primaries]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the server that holds its key, following redirections."""
        host, asking = self._host_for(args), False
        pause, until = FIRST_PAUSE_S, time.monotonic() + self._deadline
        redirections = 0
        while redirections <= MOST_REDIRECTIONS:
            try:
                node = self._node(host)
                run: Callable[..., Any] = partial(_asked, node) if asking else node.execute_command
                return run(*args, **options)
            except redis_errors.MovedError as error:
                host, asking = self._slots.moved(error, host), False
                redirections += 1
            except redis_errors.AskError as error:
                host, asking = redirected(error, host), True
                redirections += 1
            except redis_errors.TryAgainError:
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)
                pause *= 2
                # Back to the start: the source knows when all have gone.
                host, asking = self._host_for(args), False
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
        return self._node(self._any()).pubsub(**options)  # type: ignore[no-untyped-call]

    def drop_idle(self) -> None:
        """Close the connections nobody uses just now."""
        for node in list(self._nodes.values()):
            node.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for node in list(getattr(self, "_nodes", {}).values()):
            node.close()

    def _host_for(self, args: tuple[Any, ...]) -> Host:
        key = key_of(args)
        if key is None:
            return self._any()
        self._refresh()
        return self._slots.owner(slot_of(key))

    def _any(self) -> Host:
        self._refresh()
        [first, *_] = self._slots.primaries or self._slots.whom_to_ask()
        return first

    def _node(self, host: Host) -> redis.Redis:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes.setdefault(host, redis.Redis.from_pool(self._make_pool(host)))
        return node

    def _refresh(self) -> None:
        if not self._slots.shall_ask():
            return
        if self._pid != os.getpid():
            # A forked child: the lock may be held for ever by a thread that is not here.
            self._asking, self._pid = threading.Lock(), os.getpid()
        # Somebody else asks: go by what was known, if anything was.
        if not self._asking.acquire(blocking=not self._slots.known):
            return
        try:
            if self._slots.shall_ask():
                self._ask()
        finally:
            self._asking.release()

    def _ask(self) -> None:
        error: Exception | None = None
        until = time.monotonic() + 2 * self._deadline
        for host in self._slots.whom_to_ask():
            try:
                run: Callable[..., Any] = self._node(host).execute_command
                self._slots.learn(run("CLUSTER SLOTS"), host)
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
                self._forget_the_gone()
                return
        if not self._slots.known and error is not None:
            raise error

    def _forget_the_gone(self) -> None:
        for host in self._nodes.keys() - self._slots.servers:
            gone = self._nodes.pop(host, None)
            if gone is not None:
                gone.connection_pool.disconnect(inuse_connections=False)


class _Pipeline(Pipeline):
    """Commands for several servers; what a server redirects is sent again by itself."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, False, None)
        self._cluster = cluster

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        cluster = self._cluster
        parts: dict[Host, list[int]] = {}
        for at, (args, _) in enumerate(stack):
            parts.setdefault(cluster._host_for(args), []).append(at)
        replies: list[Any] = [None] * len(stack)
        for host, places in parts.items():
            pipeline = cluster._node(host).pipeline(transaction=False)
            pipeline.command_stack = [stack[at] for at in places]
            try:
                found = pipeline.execute(raise_on_error=False)
            except CHANGED:
                cluster._slots.doubt(host)
                raise
            for at, reply in zip(places, found, strict=True):
                replies[at] = reply
        for at, reply in enumerate(replies):
            if isinstance(reply, REDIRECTED):
                replies[at] = _tried(cluster, *stack[at])
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies


#: Replies that say a command was not done, and where or when it can be.
REDIRECTED = (redis_errors.AskError, redis_errors.TryAgainError)


def not_a_cluster(refused: redis_errors.ResponseError) -> Misconfigured:
    """Say that a server knows nothing of slots."""
    return Misconfigured(
        f"the server is not part of a cluster ({refused}): use redis:// or redis+sentinel:// for it"
    )


def _asked(node: redis.Redis, *args: Any, **options: Any) -> Any:
    """Send a command a server would redirect, with the word that it was sent on: on one connection."""
    with redis.Redis(connection_pool=node.connection_pool, single_connection_client=True) as one:
        run: Callable[..., Any] = one.execute_command
        run("ASKING")
        return run(*args, **options)


def _tried(cluster: Cluster, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    try:
        return cluster.execute_command(*args, **options)
    except redis_errors.ResponseError as error:
        return error
