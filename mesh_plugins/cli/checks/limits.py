"""Whether an ordinary call fits into the limits that callers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh_plugins.cli.checks.finding import Finding
from mesh_plugins.cli.fitting import unfit

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def limits(redis: Redis) -> list[Finding]:
    """Look for limits that no call fits into unless its caller says how little it wants."""
    from mesh_store.model.errors import ConfigError
    from mesh_store.model.signing import unseal
    from mesh_store.model.snapshot import decode
    from mesh_store.redis.config_channel import aread_snapshot

    sealed = await aread_snapshot(redis)
    try:
        document = None if sealed is None else decode(unseal("snapshot", sealed).body)
    except ConfigError:
        document = None
    if document is None:  # which is a finding about the configuration
        return []
    found = [Finding("warning", "limits", str(each), each.fix) for each in unfit(document)]
    return found or [Finding("fine", "limits", "an ordinary call fits into each")]
