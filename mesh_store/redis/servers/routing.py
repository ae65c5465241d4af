"""Which key a command goes by, and how a cluster maps keys to slots."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from redis.crc import key_slot

#: First words of commands without a key: any server will do.
_KEYLESS = frozenset(
    {
        *("ACL", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB"),
        *("INFO", "LASTSAVE", "LATENCY", "PING", "PUBLISH", "ROLE", "SCRIPT", "TIME", "WAIT"),
    }
)
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})
_STREAMS = frozenset({"XREAD", "XREADGROUP"})


def key_of(command: tuple[Any, ...]) -> str | bytes | None:
    """Return the first key of a command as redis-py sends it; None when it has none.

    All keys of one command share a slot, or the server refuses it: so the first says it for all.
    """
    word = str(command[0]).partition(" ")[0].upper()
    if word in _SCRIPTS:
        return command[3] if int(command[2]) else None
    if word in _STREAMS:
        at = next(i for i, part in enumerate(command) if part in ("STREAMS", b"STREAMS"))
        key: str | bytes = command[at + 1]
        return key
    return None if word in _KEYLESS or len(command) < 2 else command[1]


@lru_cache(maxsize=8192)
def slot_of(key: str | bytes) -> int:
    """Return a key's slot."""
    return int(key_slot(key.encode() if isinstance(key, str) else key))
