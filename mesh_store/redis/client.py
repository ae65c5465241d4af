"""Connections to Redis by our rules, never redis-py's defaults.

The defaults retry ten times at five seconds each: one GET blocked 58.7 s, and a retried reserve
counted twice. Here nothing is retried below the limiter, and a decision has a deadline.

`mesh_store.redis.servers.address` says which URLs there are. Whatever is behind one, the client looks
like `redis.Redis`: commands of a `Cluster` go to the server that holds their key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

from mesh_store.model.errors import ConfigError
from mesh_store.redis.packing import Packer
from mesh_store.redis.servers import interrupted, sentinel, tls
from mesh_store.redis.servers.address import Address, Host, parse_address
from mesh_store.redis.servers.cluster import CHANGED, Cluster
from mesh_store.redis.servers.cluster_async import AsyncCluster
from mesh_store.redis.servers.mistakes import Misconfigured

#: Seconds one decision may wait for Redis.
DECISION_DEADLINE = 0.05

#: Seconds a new connection may take at least, TLS included.
CONNECT_DEADLINE = 0.25


def connect(
    url: str,
    *,
    deadline: float = DECISION_DEADLINE,
    connect_deadline: float | None = None,
    **options: Any,
) -> redis.Redis:
    """Make a client for threads; it connects on first use.

    Args:
        url: see `mesh_store.redis.servers.address`.
        deadline: seconds one attempt may wait for its reply. A lost reply is replayed once.
        connect_deadline: seconds a new connection may take; as many as a reply unless said, 0.25 at least.
        options: further arguments of redis-py's connections.

    Raises:
        ConfigError: the URL, or a certificate it names, does not fit.
    """
    retry = redis.retry.Retry(NoBackoff(), 0)
    further = {"retry": retry, "command_packer": Packer()} | options
    client: redis.Redis = _made(_THREADS, url, _rules(deadline, connect_deadline), further)
    return client


def connect_async(
    url: str,
    *,
    deadline: float = DECISION_DEADLINE,
    connect_deadline: float | None = None,
    **options: Any,
) -> redis.asyncio.Redis:
    """Make a client for one event loop; arguments as for `connect`."""
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    client: redis.asyncio.Redis = _made(
        _LOOP, url, _rules(deadline, connect_deadline), {"retry": retry} | options
    )
    return client


def node_of(client: redis.Redis, key: str | bytes) -> redis.Redis:
    """Return the client of the one server that holds a key: itself where there is only one."""
    return client.node_of(key) if isinstance(client, Cluster) else client


async def anode_of(client: redis.asyncio.Redis, key: str | bytes) -> redis.asyncio.Redis:
    """Return the client of the one server that holds a key: itself where there is only one."""
    return await client.node_of(key) if isinstance(client, AsyncCluster) else client


@contextmanager
def doubting(client: redis.Redis | redis.asyncio.Redis, node: Any) -> Iterator[None]:
    """While speaking to a server from `node_of`: one that does not answer may hold nothing any more.

    A cluster's client sees that by itself only where it sends the command.
    """
    try:
        yield
    except CHANGED:
        if isinstance(client, Cluster | AsyncCluster):
            client.doubt(node)
        raise


async def aprimaries(client: redis.asyncio.Redis) -> list[redis.asyncio.Redis]:
    """Return the clients of every server that holds keys."""
    return await client.primaries() if isinstance(client, AsyncCluster) else [client]


def drop_idle(client: redis.Redis) -> None:
    """Close the connections nobody uses just now: they lead to a server that cannot help us."""
    if isinstance(client, Cluster):
        client.drop_idle()
    else:
        client.connection_pool.disconnect(inuse_connections=False)


async def adrop_idle(client: redis.asyncio.Redis) -> None:
    """Close the connections nobody uses just now: they lead to a server that cannot help us."""
    if isinstance(client, AsyncCluster):
        await client.drop_idle()
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


def _rules(deadline: float, connect_deadline: float | None) -> dict[str, Any]:
    patience = max(CONNECT_DEADLINE, deadline) if connect_deadline is None else connect_deadline
    return {
        "socket_timeout": deadline,
        "socket_connect_timeout": patience,
        "retry_on_error": [],
        "decode_responses": False,
        "health_check_interval": 0,
        # RESP2 without CLIENT SETINFO: a new connection costs no round trips of its own, and the
        # caller's ACL user needs no CLIENT command.
        "protocol": 2,
        "driver_info": None,
    }


class _Kit(NamedTuple):
    """What one colour is made of."""

    client: Any
    pool: Any
    tcp: Any
    tls: Any
    unix: Any
    cluster: Any
    sentinels: Any
    primary_pool: Any
    primary: Any
    tls_primary: Any


_THREADS = _Kit(
    redis.Redis, redis.ConnectionPool,
    interrupted.LeavableTcp, interrupted.LeavableTls, interrupted.LeavableUnix,
    Cluster, sentinel.Sentinels,
    redis.sentinel.SentinelConnectionPool,
    interrupted.LeavablePrimary, interrupted.LeavableTlsPrimary,
)  # fmt: skip
_LOOP = _Kit(
    redis.asyncio.Redis, redis.asyncio.ConnectionPool,
    redis.asyncio.Connection, tls.AsyncTlsConnection, redis.asyncio.UnixDomainSocketConnection,
    AsyncCluster, sentinel.AsyncSentinels,
    redis.asyncio.sentinel.SentinelConnectionPool,
    redis.asyncio.sentinel.SentinelManagedConnection, sentinel.AsyncTlsPrimaryConnection,
)  # fmt: skip


def _made(kit: _Kit, url: str, rules: dict[str, Any], further: dict[str, Any]) -> Any:
    address = parse_address(url)
    rules = rules | further
    options = {name: value for name, value in address.options.items() if not name.startswith("ssl_")}
    secured = {"tls": _tls_of(address)} if address.tls or address.sentinel_tls else {}

    def to_server(host: Host) -> Any:
        kind, extra = (kit.tls, secured) if address.tls else (kit.tcp, {})
        return kit.pool(connection_class=kind, host=host[0], port=host[1], **options, **extra, **rules)

    def to_sentinel(host: Host) -> Any:
        kind, extra = (kit.tls, secured) if address.sentinel_tls else (kit.tcp, {})
        credentials = address.sentinel_options
        return kit.pool(connection_class=kind, host=host[0], port=host[1], **credentials, **extra, **rules)

    if address.path:
        return kit.client.from_pool(
            kit.pool(connection_class=kit.unix, path=address.path, **options, **rules)
        )
    if address.kind == "cluster":
        return kit.cluster(address.hosts, to_server, deadline=rules["socket_timeout"])
    if address.kind == "one":
        return kit.client.from_pool(to_server(address.hosts[0]))
    kind, extra = (kit.tls_primary, secured) if address.tls else (kit.primary, {})
    sentinels = kit.sentinels(address.hosts, to_sentinel)
    return kit.client.from_pool(
        kit.primary_pool(address.service, sentinels, connection_class=kind, **options, **extra, **rules)
    )


def _tls_of(address: Address) -> tls.Tls:
    """Return what connections are secured by; what cannot be read is told now, not on the first call."""
    made = tls.Tls({name: value for name, value in address.options.items() if name.startswith("ssl_")})
    try:
        made.context()
    except Misconfigured as error:
        raise ConfigError(str(error)) from error
    return made
