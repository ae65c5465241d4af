"""Whether an ordinary call fits into the limits that callers hold, those on single keys included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh_plugins.cli.checks.finding import Finding
from mesh_plugins.cli.fitting import look, passed_over

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.postgres import Database

#: Keys with limits of their own that are looked at, those that changed last.
_MOST_KEYS = 10_000


async def limits(redis: Redis, database: Database) -> list[Finding]:
    """Look for limits that no call fits into unless its caller says how little it wants."""
    from mesh_store.model.errors import ConfigError
    from mesh_store.model.signing import unseal
    from mesh_store.model.snapshot import decode
    from mesh_store.postgres.key_limits import limited_keys
    from mesh_store.redis.config_channel import aread_snapshot

    sealed = await aread_snapshot(redis)
    try:
        document = None if sealed is None else decode(unseal("snapshot", sealed).body)
    except ConfigError:
        document = None
    if document is None:  # which is a finding about the configuration
        return []
    keys = await limited_keys(database, _MOST_KEYS)
    seen = look(document, keys)
    found = [Finding("warning", "limits", str(each), each.fix) for each in seen.unfit]
    if seen.passed_over:
        found.append(Finding("fine", "limits", passed_over(seen)))
    if len(keys) == _MOST_KEYS:
        last = f"of keys with limits of their own, the {_MOST_KEYS:,} changed last were looked at"
        found.append(Finding("fine", "limits", last))
    return found or [Finding("fine", "limits", "an ordinary call fits into each")]
