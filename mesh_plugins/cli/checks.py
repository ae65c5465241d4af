"""What `mesh doctor` looks at; every finding that is not fine says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mesh_plugins.cli.control import Place, place
from mesh_store.model.errors import MeshError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.postgres import Database

State = Literal["fine", "warning", "failed"]

#: Facts waiting in the stream that are too many for a collector that keeps up.
LONG_BACKLOG = 10_000


class Finding(NamedTuple):
    """One thing that was looked at."""

    state: State
    check: str
    found: str
    fix: str = ""


async def examine() -> list[Finding]:
    """Look at everything; a part that cannot be reached is a finding, not an error."""
    from mesh_store.postgres import Database
    from mesh_store.redis import connect_async

    async with place() as found:
        redis = connect_async(found.redis_url, deadline=2.0)
        try:
            async with Database(found.database_url) as database:
                findings = await _database(database)
                findings += await _asked("Redis", "check MESH_REDIS_URL and that it runs", _redis, redis)
                if all(finding.state != "failed" for finding in findings):
                    findings += await _asked(
                        "configuration", "run `mesh collect`", _published, database, redis
                    )
                    findings += await _asked("collector", "run `mesh collect`", _collectors, redis)
        finally:
            await redis.aclose()
        findings.append(await asyncio.to_thread(_key, found))
        return findings


async def _asked(
    check: str, fix: str, look: Callable[..., Awaitable[list[Finding]]], *arguments: Any
) -> list[Finding]:
    from mesh_store.redis.failures import FAILURES

    try:
        return await look(*arguments)
    except (*FAILURES, MeshError) as error:
        return [Finding("failed", check, f"{type(error).__name__}: {error}", fix)]


async def _database(database: Database) -> list[Finding]:
    from mesh_store.postgres.migrate import check, newest_revision

    try:
        await check(database)
    except MeshError as error:
        fix = "run `mesh migrate`" if error.status != 503 else "check MESH_DATABASE_URL and that it runs"
        return [Finding("failed", "Postgres", str(error), fix)]
    return [Finding("fine", "Postgres", f"schema {newest_revision()}")]


async def _redis(redis: Redis) -> list[Finding]:
    """Versions are told, never judged: Valkey 9 says it is redis 7."""
    facts: dict[str, Any] = await redis.info()
    name, version = "Redis", facts.get("redis_version", "?")
    if "valkey_version" in facts:
        name, version = "Valkey", facts["valkey_version"]
    findings = [Finding("fine", "Redis", f"{name} {version}")]
    policy = str(facts.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        fix = "set maxmemory-policy noeviction"
        findings.append(Finding("failed", "eviction", f"{policy} would drop limits and budgets", fix))
    if not facts.get("aof_enabled") and not facts.get("rdb_last_save_time"):
        fix = "set appendonly yes, or accept that limits start anew after a restart"
        findings.append(Finding("warning", "persistence", "neither append-only file nor snapshots", fix))
    return findings


async def _published(database: Database, redis: Redis) -> list[Finding]:
    from mesh_store.model.signing import Place as Order
    from mesh_store.redis.config_channel import aread_heads

    head, there = await database.head(), await aread_heads(redis)
    want = Order(head.epoch, head.revision)
    if there.snapshot is None:
        fix = "run `mesh collect`, or change something"
        return [Finding("warning", "configuration", "nothing is published yet", fix)]
    if there.snapshot > want:
        fix = "if the database was restored: `mesh migrate --restored`"
        return [Finding("failed", "configuration", f"Redis has {there.snapshot}, Postgres {want}", fix)]
    if there.snapshot < want:
        found = f"callers have revision {there.snapshot.revision}, Postgres {want.revision}"
        return [Finding("warning", "configuration", found, "run `mesh collect`, which publishes")]
    return [Finding("fine", "configuration", f"revision {want.revision} is published")]


async def _collectors(redis: Redis) -> list[Finding]:
    from mesh_store.redis.stream import COLLECTORS, stream_key

    client: Any = redis
    running, waiting = await client.hlen(COLLECTORS), await client.xlen(stream_key(0))
    if not running:
        found = f"none was heard of in the last minute; {waiting} batches wait"
        return [Finding("warning", "collector", found, "run `mesh collect` somewhere")]
    if waiting > LONG_BACKLOG:
        return [Finding("warning", "collector", f"{waiting} batches wait", "run another `mesh collect`")]
    return [Finding("fine", "collector", f"{running} running, {waiting} batches wait")]


def _key(found: Place) -> Finding:
    """Whether MESH_KEY would be accepted, as a caller learns it."""
    from mesh_store.model.keys import digest, parse
    from mesh_store.sync import Subscriber

    key = found.settings.key
    if key is None:
        return Finding("fine", "key", "MESH_KEY is not set here")
    fix = "ask for a new one: `mesh key create`"
    try:
        key_id = parse(key.get_secret_value())
        with Subscriber(found.redis_url) as subscriber:
            entry = subscriber.keys.lookup(digest(key.get_secret_value()))
    except MeshError as error:
        return Finding("failed", "key", str(error), fix)
    if entry is None or entry.revoked:
        return Finding("failed", "key", f"{key_id} is not accepted: unknown, revoked or expired", fix)
    return Finding("fine", "key", f"{key_id} is known")
