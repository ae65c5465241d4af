"""A whole mesh over sentinels and over a cluster: calls, live changes, facts, presence, and a failover."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mesh_plugins import QuotaExceeded
from mesh_plugins.cli.checks import facts, stores
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.redis import acl, connect, connect_async
from mesh_store.redis.config_channel import HEAD
from mesh_store.redis.presence import CLIENTS_KEY
from mesh_store.redis.stream import stream_key
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters.running import Exporter
from tests.conftest import World
from tests.engines import Engines
from tests.topologies.conftest import PATIENCE
from tests.topologies.servers import Cluster, Servers, eventually, passed_on

ASK = [{"role": "user", "content": "tell me something true"}]


class Over(NamedTuple):
    """The session's Postgres beside another Redis."""

    database_url: str
    dsn: str
    redis_url: str


@pytest.fixture(params=["sentinels", "cluster"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def make(
    mesh_engines: Engines, stand_in: StandInProvider, tmp_path: Path, tag: str
) -> Iterator[Callable[..., World]]:
    """Make a team over a Redis: ``make(url, limits)``."""
    with ExitStack() as held:

        def made(url: str, limits: tuple[str, ...]) -> World:
            over: Any = Over(mesh_engines.database_url, mesh_engines.dsn, url)
            world = World(over, stand_in, tmp_path / "home", f"team-{tag}", closing=held)
            world.home.mkdir()

            async def create(admin: Any) -> Any:
                await admin.create_team(name=world.team)
                await admin.create_provider(
                    name=world.name("local"), kind="openai", base_url=stand_in.base_url
                )
                for text in limits:
                    await admin.create_limit(team=world.team, limit=text)
                return await admin.create_key(team=world.team)

            _, minted = world.run(create)
            world.key, world.key_id = minted.text, minted.id
            return world

        yield made


def test_calls_changes_facts_and_a_failover(place: Any, make: Callable[..., World]) -> None:
    world = make(place.url, ("4 requests/day", "100k tokens/day", "$5/day", "3 concurrent"))
    alias = world.alias(models=("gpt-4o-mini",))
    world.limit("100 requests/day", alias=alias)  # spans teams: its own tag, perhaps another primary
    world.collect()  # seeds the budget's window
    mesh = world.mesh(max_stale_s=600)
    assert mesh.chat(alias, ASK, max_tokens=64).mesh.attempts == 1
    assert asyncio.run(_async_call(mesh, alias))
    assert mesh.flush(20)
    world.collect()
    assert [row["outcome"] for row in world.rows("e.*")] == ["ok", "ok"]

    revision = mesh._held.subscriber.snapshot().revision

    # A failover of what holds the configuration; then a change, which arrives by itself.
    holder = place.holder(HEAD)
    passed_on(holder, place.replica_of(holder))
    holder.kill()
    eventually(lambda: place.holder(HEAD) is not holder)
    texts = (f"{amount} requests/day" for amount in itertools.count(7))
    eventually(lambda: _changed(world, alias, next(texts)), timeout=60)
    assert mesh._held.subscriber.snapshot().revision > revision

    # Whatever the ring kept meanwhile arrives once.
    eventually(lambda: _called(mesh, alias), timeout=60)
    assert mesh.flush(30)
    world.collect()
    assert len(world.rows("e.*")) == 3
    eventually(lambda: _called(mesh, alias), timeout=60)
    with pytest.raises(QuotaExceeded, match="4 requests"):
        mesh.chat(alias, ASK, max_tokens=64)


async def _async_call(mesh: Any, alias: str) -> bool:
    return bool((await mesh.achat(alias, ASK, max_tokens=64)).usage.total_tokens)


def _changed(world: World, alias: str, limit: str) -> bool:
    """Make a change; tell whether it was published at once, which a failover may still forbid."""

    async def change(admin: Any) -> bool:
        await admin.create_limit(limit=limit, team=world.team, alias=alias)
        said, admin.unpublished = admin.unpublished, None
        return said is None

    return bool(world.run(change))


def _called(mesh: Any, alias: str) -> bool:
    from mesh_plugins import QuotaUnavailable

    try:
        return bool(mesh.chat(alias, ASK, max_tokens=64))
    except QuotaUnavailable:
        return False


def test_presence_is_counted_and_facts_may_go_elsewhere(
    place: Any, servers: Servers, make: Callable[..., World]
) -> None:
    server = servers.start()
    world = make(place.url, ("100 requests/day",))
    alias = world.alias()
    mesh = world.mesh(telemetry_redis_url=server.url)
    assert mesh.chat(alias, ASK, max_tokens=64)
    mesh._held.presence.beat()
    with connect(place.url, deadline=PATIENCE, connect_deadline=PATIENCE) as client:
        assert client.zcard(CLIENTS_KEY) >= 1
    assert mesh.flush(20)
    assert server.client.xlen(stream_key(0)) == 1
    assert asyncio.run(_collected_and_exported(world, server.url, place.url)) == (1, 1)
    assert len(world.rows("e.*")) == 1
    server.kill()


class Sink:
    """Keeps what an exporter gives."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def fact(self, fact: Any) -> None:
        self.facts.append(fact)


async def _collected_and_exported(world: World, facts_url: str, limits_url: str) -> tuple[int, int]:
    sink = Sink()
    exporter = Exporter(facts_url, [sink])
    await exporter.once()
    collector = Collector(world.engines.database_url, facts_url, settle_redis_url=limits_url)
    try:
        done = await collector.collect_once()
        await exporter.once()
    finally:
        await collector.close()
        await exporter.close()
    return min(done.facts, 1), sum(fact.key_id == world.key_id for fact in sink.facts)


def test_facts_of_a_cluster_are_exported_and_acknowledged(
    cluster: Cluster, make: Callable[..., World]
) -> None:
    world = make(cluster.url, ("100 requests/day",))
    alias = world.alias()
    mesh = world.mesh()
    assert mesh.chat(alias, ASK, max_tokens=64)
    assert mesh.flush(20)
    assert asyncio.run(_collected_and_exported(world, cluster.url, cluster.url)) == (1, 1)
    assert len(world.rows("e.*")) == 1
    assert mesh.flush(20, collected=True)  # the acknowledgement found its way back


async def test_doctor_looks_at_every_primary(cluster: Cluster) -> None:
    victim = cluster.primaries()[-1]
    victim.client.config_set("maxmemory-policy", "allkeys-lru")
    client = connect_async(cluster.url, deadline=PATIENCE, connect_deadline=PATIENCE)
    try:
        found = {finding.check: finding for finding in await stores.redis(client)}
        assert (found["cluster"].state, "3 primaries" in found["cluster"].found) == ("fine", True)
        assert found["eviction"].state == "failed"
        assert str(victim.port) in found["eviction"].found
        assert {finding.check for finding in await facts.stream(client)} >= {"collector", "backlog"}
    finally:
        victim.client.config_set("maxmemory-policy", "noeviction")
        await client.aclose()


def test_users_of_least_privilege_run_a_mesh_on_a_cluster(
    cluster: Cluster, make: Callable[..., World]
) -> None:
    users = {
        "publisher": acl.publisher_rules(),
        "caller": acl.caller_rules(),
        "collector": acl.collector_rules(),
    }
    for node in cluster.nodes:
        for name, rules in users.items():
            node.client.execute_command("ACL SETUSER", name, "reset", "on", f">{name}", *rules)
    as_user = {name: cluster.url.replace("://", f"://{name}:{name}@") for name in users}
    world = make(as_user["publisher"], ("100 requests/day", "$5/day"))
    alias = world.alias()
    seeded = Collector(world.engines.database_url, as_user["collector"])
    asyncio.run(_once(seeded))
    mesh = world.mesh(redis_url=as_user["caller"])
    assert mesh.chat(alias, ASK, max_tokens=64)
    mesh._held.presence.beat()
    assert mesh.flush(20)
    asyncio.run(_once(Collector(world.engines.database_url, as_user["collector"])))
    assert len(world.rows("e.*")) == 1
    assert mesh.limits_health().last_error is None


async def _once(collector: Collector) -> None:
    try:
        await collector.collect_once()
    finally:
        await collector.close()
