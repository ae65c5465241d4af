"""The Lua scripts: assembled from their files once, called by their digest.

Redis has no ``require``, so a script is its flags, the shared files it needs, and its own file.
Reserve and settle exist twice: with rate limits only, which is what most calls have, and with
every kind. Reserving rates is a script of its own, flat where the other calls functions of each kind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

#: Every command a caller's limiter needs, inside scripts and out: what an ACL user must be allowed.
COMMANDS = (
    "eval", "evalsha", "time", "get", "mget", "set", "del", "pexpire",
    "zcount", "zrangebyscore", "zadd", "zrem", "zremrangebyscore", "zscore",
    "hget", "hmget", "hset", "hsetnx", "hdel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server knows it.

    Attributes:
        name: the file it comes from, for messages.
        source: the text, sent only when the server does not know the digest.
        sha: the digest it is called by.
    """

    name: str
    source: str
    sha: str


def _assemble(name: str, *parts: str, flags: str = "") -> Script:
    folder = files("mesh_store.redis") / "scripts"
    texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*parts, name)]
    source = "\n".join([f"#!lua{flags}", *texts])
    # The digest is Redis' own name for a script, not a safeguard.
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


_BASE = ("numbers", "records", "long", "rate")
_SETTLE = (*_BASE, "rate_settle")
_RATES, _ALL = ("kinds_rate", "limits"), ("slots", "window", "distinct", "kinds_all", "limits")
_EVEN_WHEN_FULL = " flags=allow-oom"

RESERVE = _assemble("reserve", *_BASE, *_ALL)
RESERVE_RATES = _assemble("reserve_rates", "numbers", "records", "long")
SETTLE = _assemble("settle", *_SETTLE, *_ALL, flags=_EVEN_WHEN_FULL)
SETTLE_RATES = _assemble("settle", *_SETTLE, *_RATES, flags=_EVEN_WHEN_FULL)
PEEK = _assemble("peek", *_BASE, *_ALL, flags=" flags=no-writes")
AT_MOST = _assemble("at_most", *_BASE, *_RATES)
RENEW = _assemble("renew", *_BASE, *_ALL, flags=_EVEN_WHEN_FULL)
COMMIT = _assemble("commit", *_BASE, *_ALL, flags=_EVEN_WHEN_FULL)
PRESENCE = _assemble("presence", "numbers")
LEASE = _assemble("lease", *_BASE, *_ALL)
LEASE_END = _assemble("lease_end", *_SETTLE, *_ALL, flags=_EVEN_WHEN_FULL)
LEASE_MOVE = _assemble("lease_move", *_BASE, *_ALL, flags=_EVEN_WHEN_FULL)
