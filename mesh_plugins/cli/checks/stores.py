"""Postgres and Redis: there, of the right kind, and of one mind about the time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mesh_plugins.cli.checks.finding import Finding, skew
from mesh_store.model.errors import MeshError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.postgres import Database

#: Share of ``maxmemory`` at which facts begin to wait in their rings, and the one shortly before it.
MEMORY = (0.50, 0.70)


#: The oldest major version the tests run on.
OLDEST_POSTGRES = 14


async def postgres(database: Database) -> list[Finding]:
    """Look at the server, its schema and its clock."""
    from mesh_store.postgres.examining import vitals
    from mesh_store.postgres.migrate import check, newest_revision

    try:
        await check(database)
    except MeshError as error:
        away = error.status == 503
        fix = "check MESH_DATABASE_URL and that it runs" if away else _schema_fix(str(error))
        return [Finding("failed", "Postgres", str(error), fix)]
    began = time.time()
    found = await vitals(database)
    ended = time.time()
    ahead = found.clock.timestamp() - (began + ended) / 2
    said = f"Postgres {found.version}, schema {newest_revision()}"
    if int(found.version.partition(".")[0]) < OLDEST_POSTGRES:
        fix = f"use Postgres {OLDEST_POSTGRES} or newer"
        return [Finding("failed", "Postgres", f"{said}: too old", fix)]
    return [
        Finding("fine", "Postgres", said),
        skew("Postgres' clock", ahead, uncertain=(ended - began) / 2),
    ]


def _schema_fix(said: str) -> str:
    return "upgrade mesh-plugins here" if "newer" in said else "run `mesh migrate`"


async def redis(client: Redis) -> list[Finding]:
    """Look at the server, what it forgets, and its clock; in a cluster at every primary.

    Versions are told, never judged: Valkey 9 says it is redis 7. That the commands we need are there
    is judged instead.
    """
    from mesh_store.redis.client import aprimaries

    servers = await aprimaries(client)
    if servers == [client]:
        return await _server(client)
    looked = [(_name(server), await _server(server)) for server in servers]
    worst = [
        max(zip([name for name, _ in looked], found, strict=True), key=lambda pair: _RANKS[pair[1].state])
        for found in zip(*[found for _, found in looked], strict=True)
    ]
    told = [finding if finding.state == "fine" else _of(name, finding) for name, finding in worst]
    return [await _cluster(client, len(servers)), *told]


_RANKS = {"fine": 0, "warning": 1, "failed": 2}


def _name(server: Redis) -> str:
    options = server.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


def _of(name: str, finding: Finding) -> Finding:
    return Finding(finding.state, finding.check, f"{name}: {finding.found}", finding.fix)


async def _cluster(client: Redis, primaries: int) -> Finding:
    """Look at what a cluster is made of: whose data has no copy is lost with its primary."""
    anything: Any = client
    bare = 0
    for _, _, _, *replicas in await anything.execute_command("CLUSTER SLOTS"):
        bare += not replicas
    said = f"{primaries} primaries"
    if bare:
        fix = "give every primary a replica, or accept that its limits start anew when it is lost"
        return Finding("warning", "cluster", f"{said}, some without a replica", fix)
    return Finding("fine", "cluster", f"{said}, each with a replica")


async def _server(client: Redis) -> list[Finding]:
    info: dict[str, Any] = await client.info()
    name, version = "Redis", info.get("redis_version", "?")
    if "valkey_version" in info:
        name, version = "Valkey", info["valkey_version"]
    began = time.time()
    seconds, micros = await client.time()
    ended = time.time()
    ahead = seconds + micros / 1e6 - (began + ended) / 2
    return [
        Finding("fine", "Redis", f"{name} {version}"),
        await _commands(client),
        _eviction(info),
        await _persistence(client, info),
        _memory(info),
        skew("Redis' clock", ahead, uncertain=(ended - began) / 2),
    ]


async def _commands(client: Redis) -> Finding:
    """XAUTOCLAIM came with Redis 6.2, after everything else that is used."""
    from redis.exceptions import ResponseError

    anything: Any = client
    try:
        known = await anything.execute_command("COMMAND INFO", "XAUTOCLAIM")
    except ResponseError:  # not for this user to ask; a server too old says so on first use
        return Finding("fine", "commands", "may not be asked for")
    if not any(known):
        return Finding("failed", "commands", "XAUTOCLAIM is missing", "use Redis 6.2 or newer, or any Valkey")
    return Finding("fine", "commands", "all there")


def _eviction(info: dict[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return Finding("fine", "eviction", "nothing is evicted")
    fix = "set maxmemory-policy noeviction"
    return Finding("failed", "eviction", f"{policy} would drop limits and budgets", fix)


async def _persistence(client: Redis, info: dict[str, Any]) -> Finding:
    from redis.exceptions import ResponseError

    if info.get("aof_enabled"):
        if str(info.get("aof_last_write_status", "ok")) != "ok":
            fix = "look into the server's log and at its disk"
            return Finding("failed", "persistence", "the append-only file cannot be written", fix)
        return Finding("fine", "persistence", "append-only file")
    try:
        saves = (await client.config_get("save")).get("save", "")
    except ResponseError:
        saves = "?"  # a managed server keeps its settings to itself
    fix = "set appendonly yes, or accept that limits start anew after a restart"
    if not saves:
        return Finding("warning", "persistence", "neither append-only file nor snapshots", fix)
    return Finding("warning", "persistence", "snapshots only: a crash forgets minutes of what was spent", fix)


def _memory(info: dict[str, Any]) -> Finding:
    most, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if not most:
        return Finding("fine", "memory", f"{used / 2**20:.0f} MiB used, no bound set")
    share, fix = used / most, "raise maxmemory, or run another collector if a backlog fills it"
    said = f"{share:.0%} of maxmemory used"
    if share >= MEMORY[1]:
        return Finding("failed", "memory", f"{said}: facts wait in their processes", fix)
    return Finding("warning" if share >= MEMORY[0] else "fine", "memory", said, fix * (share >= MEMORY[0]))
