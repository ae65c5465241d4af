"""Connections to Redis by our rules, never redis-py's defaults.

The defaults retry ten times at five seconds each: one GET blocked 58.7 s, and a retried reserve
counted twice. Here nothing is retried below the limiter, and a decision has a deadline.
"""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds one decision may wait for Redis.
DECISION_DEADLINE = 0.05

#: Seconds a new connection may take, TLS included.
CONNECT_DEADLINE = 0.25


def connect(
    url: str,
    *,
    deadline: float = DECISION_DEADLINE,
    connect_deadline: float = CONNECT_DEADLINE,
    **options: Any,
) -> redis.Redis:
    """Make a client for threads; it connects on first use.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; redis-py's query options may be added.
        deadline: seconds one attempt may wait for its reply. A lost reply is replayed once.
        connect_deadline: seconds a new connection may take.
        options: further arguments of redis-py's client.
    """
    rules = _rules(deadline, connect_deadline) | options
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **rules)


def connect_async(
    url: str,
    *,
    deadline: float = DECISION_DEADLINE,
    connect_deadline: float = CONNECT_DEADLINE,
    **options: Any,
) -> redis.asyncio.Redis:
    """Make a client for one event loop; arguments as for `connect`."""
    rules = _rules(deadline, connect_deadline) | options
    return redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **rules)


def _rules(deadline: float, connect_deadline: float) -> dict[str, Any]:
    return {
        "socket_timeout": deadline,
        "socket_connect_timeout": connect_deadline,
        "retry_on_error": [],
        "decode_responses": False,
        "health_check_interval": 0,
        # RESP2 without CLIENT SETINFO: a new connection costs no round trips of its own, and the
        # caller's ACL user needs no CLIENT command.
        "protocol": 2,
        "driver_info": None,
    }
