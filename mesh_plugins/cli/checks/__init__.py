"""What `mesh doctor` looks at; every finding that is not fine says what to do.

* `finding`        one thing that was looked at
* `stores`         Postgres and Redis themselves
* `configuration`  whether callers have what the database says
* `limits`         whether an ordinary call fits into them
* `facts`          what happened on its way to Postgres
* `caller`         the key of this environment
* `plugins`        what is installed, and active
* `providers`      their secrets and addresses, when asked for
"""

from __future__ import annotations

import asyncio

from mesh_plugins.cli.checks import caller, configuration, facts, stores
from mesh_plugins.cli.checks.finding import Finding, asked
from mesh_plugins.cli.checks.limits import limits
from mesh_plugins.cli.checks.plugins import plugins
from mesh_plugins.cli.control import Place, place, signer_of

__all__ = ["Finding", "examine"]


async def examine(*, providers: bool = False) -> list[Finding]:
    """Look at everything; a part that cannot be reached is a finding, not an error.

    Args:
        providers: also read the providers' secrets and knock at their addresses.
    """
    from mesh_store.postgres import Database
    from mesh_store.redis import connect_async

    async with place() as found, Database(found.database_url) as database:
        redis = connect_async(found.redis_url, deadline=2.0, connect_deadline=2.0)
        stream = connect_async(found.telemetry_redis_url, deadline=2.0, connect_deadline=2.0)
        try:
            findings = await asked(
                "Postgres", "check MESH_DATABASE_URL and that it runs", stores.postgres, database
            )
            findings += await asked("Redis", "check MESH_REDIS_URL and that it runs", stores.redis, redis)
            usable = {finding.check for finding in findings if finding.state != "failed"}
            if {"Postgres", "Redis"} <= usable:
                fix = "run `mesh serve` or `mesh collect`"
                look, believed = configuration.published, _believed(found)
                findings += await asked("configuration", fix, look, database, redis, believed)
                findings += await asked("limits", fix, limits, redis, database)
            if "Redis" in usable:
                findings += await asked("collector", "check MESH_TELEMETRY_REDIS_URL", facts.stream, stream)
            if "Postgres" in usable:
                findings += await asked("dead letters", "run `mesh migrate`", facts.dead, database)
            findings += await asyncio.to_thread(facts.rings_of, found.settings.home)
            findings.append(await asyncio.to_thread(caller.key, found))
            findings += plugins(found.settings.plugins)
            if providers and "Postgres" in usable:
                from mesh_plugins.cli.checks.providers import every_provider

                findings += await asked("providers", "see Postgres", every_provider, database)
        finally:
            await redis.aclose()
            await stream.aclose()
        return findings


def _believed(found: Place) -> dict[str, bytes]:
    """The publishers this environment speaks of, by the variable that does."""
    from mesh_store.sync.trust import parse_trust_key

    signer, trusted = signer_of(found), found.settings.trust_key
    believed = {} if signer is None else {"MESH_SECRET_KEY": signer.public}
    return believed if trusted is None else believed | {"MESH_TRUST_KEY": parse_trust_key(trusted)}
