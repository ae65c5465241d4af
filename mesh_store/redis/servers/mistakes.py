"""What redis-py has no word for: somebody has to correct something before this can work."""

from __future__ import annotations

from redis.exceptions import RedisError


class Misconfigured(RedisError):
    """A server of another kind than the URL says, a service nobody knows, a file that cannot be read.

    `mesh_store.redis.failures` makes a `ConfigError` of it: it is never an outage.
    """
