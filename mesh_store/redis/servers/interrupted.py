"""Connections of threads that whatever a signal's handler raises may leave at any moment.

redis-py gives a connection back to its pool as it was left. One that was left while it was being made had no
parser from then on, and every later call failed with `AttributeError`; one that was left between a command
and its reply would have given that reply to the next who asks (through sentinels at any moment, because
there a reply that is not read to its end does not end the connection).
"""

from __future__ import annotations

from typing import Any

import redis
import redis.connection
import redis.sentinel
from redis.exceptions import ResponseError

from mesh_store.redis.servers.tls import TlsConnection


class Leavable(redis.connection.AbstractConnection):
    """Ends with a call that leaves it halfway; to be mixed in."""

    #: Something was sent, and what it brings was not read to its end.
    _unread = False

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect, or not at all."""
        try:
            super().connect_check_health(*args, **options)
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Close the connection; what it would have brought is nobody's."""
        super().disconnect(*args, **options)  # type: ignore[no-untyped-call]
        self._unread = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send what was packed."""
        if self._sock is None:
            self.connect()  # type: ignore[no-untyped-call]
        self._unread = True
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one reply."""
        try:
            reply = super().read_response(*args, **options)
        except ResponseError:
            self._unread = False
            raise
        self._unread = False
        return reply

    def can_read(self, timeout: float = 0) -> bool:
        """Tell whether something waits to be read, or will, for whom does not wait for it: the pool."""
        return (self._unread and not timeout) or bool(super().can_read(timeout))


class LeavableTcp(Leavable, redis.Connection):
    """A connection over TCP."""


class LeavableUnix(Leavable, redis.UnixDomainSocketConnection):
    """A connection over a unix socket."""


class LeavableTls(Leavable, TlsConnection):
    """A connection over TLS."""


class LeavablePrimary(Leavable, redis.sentinel.SentinelManagedConnection):
    """A connection to whatever sentinels call primary."""


class LeavableTlsPrimary(Leavable, redis.sentinel.SentinelManagedConnection, TlsConnection):
    """A connection to the primary over TLS."""
