"""Connections to whichever server the sentinels call primary, found anew for every connection.

redis-py does the work; ours are the rules: nothing is retried, a sentinel is held to the deadline of a
connection, no connection to a sentinel stays open, and a service no sentinel knows is a mistake in the
URL and no outage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis import exceptions as redis_errors

from mesh_store.redis.servers.address import Host
from mesh_store.redis.servers.mistakes import Misconfigured
from mesh_store.redis.servers.tls import AsyncTlsConnection

_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError)


class AsyncTlsPrimaryConnection(redis.asyncio.sentinel.SentinelManagedConnection, AsyncTlsConnection):
    """A connection to the primary over TLS, of an event loop."""


class Sentinels(redis.sentinel.Sentinel):
    """Asks sentinels where the primary is, for threads."""

    def __init__(self, hosts: Sequence[Host], make_pool: Callable[[Host], redis.ConnectionPool]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels = [redis.Redis.from_pool(make_pool(host)) for host in hosts]

    def discover_master(self, service_name: str) -> Host:
        """Return where the primary is; the sentinel that knew is asked first the next time."""
        heard = _Heard(service_name)
        for at, sentinel in enumerate(self.sentinels):
            try:
                primary = heard.primary(sentinel.sentinel_masters(), self.check_master_state)
            except _AWAY as error:
                heard.failed(error)
                continue
            finally:
                sentinel.connection_pool.disconnect(inuse_connections=False)  # others may be asking
            if primary is not None:
                self.sentinels[0], self.sentinels[at] = sentinel, self.sentinels[0]
                return primary
        raise heard.nothing()


class AsyncSentinels(redis.asyncio.sentinel.Sentinel):
    """Asks sentinels where the primary is, for one event loop."""

    def __init__(
        self, hosts: Sequence[Host], make_pool: Callable[[Host], redis.asyncio.ConnectionPool]
    ) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels = [redis.asyncio.Redis.from_pool(make_pool(host)) for host in hosts]

    async def discover_master(self, service_name: str) -> Host:
        """Return where the primary is; the sentinel that knew is asked first the next time."""
        heard = _Heard(service_name)
        for at, sentinel in enumerate(self.sentinels):
            try:
                primary = heard.primary(await sentinel.sentinel_masters(), self.check_master_state)
            except _AWAY as error:
                heard.failed(error)
                continue
            finally:
                await sentinel.connection_pool.disconnect(inuse_connections=False)
            if primary is not None:
                self.sentinels[0], self.sentinels[at] = sentinel, self.sentinels[0]
                return primary
        raise heard.nothing()


class _Heard:
    """What the sentinels said of a service."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._names: set[str] = set()
        self._knew = False
        self._error: Exception | None = None

    def primary(self, services: Any, is_up: Callable[[Any, str], Any]) -> Host | None:
        """Return the primary one sentinel names and thinks is up."""
        self._names.update(services)
        state = services.get(self._service)
        if state is None:
            return None
        self._knew = True
        return (cast("str", state["ip"]), int(state["port"])) if is_up(state, self._service) else None

    def failed(self, error: Exception) -> None:
        """Note that a sentinel could not be asked; one that refused us is not merely away."""
        if isinstance(error, redis_errors.AuthenticationError):
            raise error
        self._error = self._error or error

    def nothing(self) -> Exception:
        """Say why there is no primary."""
        if self._knew:
            return redis.sentinel.MasterNotFoundError(
                f"no sentinel knows a primary of {self._service!r} that is up"
            )
        if self._error is None:
            known = ", ".join(sorted(self._names)) or "none"
            return Misconfigured(f"no sentinel knows the service {self._service!r}; they know: {known}")
        error = redis.sentinel.MasterNotFoundError(f"no sentinel could be asked: {self._error}")
        error.__cause__ = self._error
        return error
