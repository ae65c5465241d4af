"""The least a user of Redis needs: as ACL rules (Redis 7.0 or newer, or Valkey).

==========  ======================================================================================
caller      reads configuration, counts in limits, hands facts in; cannot write configuration
collector   takes facts out, keeps budgets by what Postgres says, and feeds exporters
publisher   writes configuration, and opens new budgets
sentinel    where sentinels have users: asks them where the primary is
==========  ======================================================================================

A caller that is confined to its team still reaches the limits that span teams, because it counts in
them. What callers hand in, facts and samples of what was said, lies in streams which they may only add
to: nobody can read what others handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh_store.redis.config_channel import CALLER_RULES, NEWS
from mesh_store.redis.presence import CLIENTS_KEY
from mesh_store.redis.sample_stream import SAMPLES
from mesh_store.redis.scripts import COMMANDS
from mesh_store.redis.stream import COLLECTORS, LOST, REACHED, stream_key

Rules = tuple[str, ...]

_FACTS = stream_key(0).removesuffix("0") + "*"
#: As `mesh_store.telemetry.exporters.feed` names them.
_EXPORTING = ("~mesh:exports", "~mesh:exporters", f"~{SAMPLES}")
_DONE = "mesh:done:*"
#: The last two: finding one's way in a cluster.
_CONNECTING = ("+select", "+ping", "+cluster|slots", "+asking")
_PRODUCING = ("+xadd", "+hget", "+hgetall", "+hdel", "+hincrby", "+info")
_COLLECTING = (
    *("+xgroup|create", "+xgroup|delconsumer", "+xinfo|consumers", "+xreadgroup", "+xautoclaim"),
    *(
        "+xack",
        "+xdel",
        "+xlen",
        "+xrange",
        "+hset",
        "+hget",
        "+hexists",
        "+hdel",
        "+hgetall",
        "+hincrby",
        "+expire",
        "+info",
    ),
    *("+xadd", "+set", "+exists"),  # for exporters, beside collectors or in the server
)
_PUBLISHING = (
    *("+mget", "+get", "+set", "+exists", "+del", "+xadd", "+xrange", "+xrevrange"),
    *("+publish", "+eval"),
)

#: What the limiter's script of opening a budget reads and writes.
_OPENING_KEYS = ("~{*}:q:*", "~{*}:tracked")
_OPENING = ("+evalsha", "+time", "+hget", "+hmget", "+hset", "+hsetnx", "+hdel", "+pexpire")


def caller_rules(tags: Sequence[str] | None = None) -> Rules:
    """Return what a caller may do.

    Args:
        tags: hash tags of the limits it may count in: its team's id, and those of limits that span
            teams (see `mesh_store.redis.keys`); None means any.
    """
    configuration = [rule for rule in CALLER_RULES if not rule.startswith("+")]
    commands = [rule for rule in CALLER_RULES if rule.startswith("+")]
    telemetry = [f"%W~{_FACTS}", f"%W~{SAMPLES}", f"%R~{REACHED}", f"~{_DONE}", f"~{LOST}"]
    keys = [*_limits(tags), *telemetry, f"~{CLIENTS_KEY}"]
    return _unique(*configuration, *keys, *_CONNECTING, *commands, *_counting(), *_PRODUCING)


def collector_rules() -> Rules:
    """Return what a collector may do, and an exporter; it keeps the budgets of every team."""
    keys = [*_limits(None), f"~{_FACTS}", f"~{_DONE}", f"~{COLLECTORS}", f"~{LOST}", f"~{REACHED}"]
    return _unique(*keys, *_EXPORTING, *_CONNECTING, *_counting(), *_COLLECTING)


def publisher_rules() -> Rules:
    """Return what a publisher may do."""
    keys = [CALLER_RULES[0].removeprefix("%R"), *_OPENING_KEYS]
    return _unique(*keys, f"&{NEWS}", *_CONNECTING, *_PUBLISHING, *_OPENING)


def sentinel_rules() -> Rules:
    """Return what anybody who connects through sentinels may do there."""
    return ("+sentinel|masters", "+ping")


def command_line(user: str, rules: Rules, password: str) -> str:
    """Return the command that makes a user of exactly these rules.

    Args:
        user: its name.
        rules: what it may do.
        password: in plain; give it to nobody but the user.
    """
    return " ".join(("ACL SETUSER", user, "reset", "on", f">{password}", *rules))


def _limits(tags: Sequence[str] | None) -> list[str]:
    if tags is None:
        return ["~{*}:q:*", "~{*}:r:*", "~{*}:tracked"]
    return [f"~{{{tag}}}:{rest}" for tag in tags for rest in ("q:*", "r:*", "tracked")]


def _counting() -> Iterable[str]:
    return (f"+{command}" for command in COMMANDS)


def _unique(*rules: str) -> Rules:
    return tuple(dict.fromkeys(rules))
