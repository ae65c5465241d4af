"""A governed call, its collection and a publish under the users that `mesh acl` prints."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest
import redis

from mesh_plugins.mesh import Mesh
from mesh_plugins.settings import Settings
from mesh_store.admin import Admin
from mesh_store.redis import acl, config_channel
from mesh_store.telemetry import delivery
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters.running import Exporter

PASSWORD = "only-for-tests"


def made(server_url, client, name, rules):
    """Make a user of the rules printed; returns the URL it connects with."""
    line = acl.command_line(name, rules, PASSWORD)
    assert client.execute_command(*line.split(" ")) in (b"OK", "OK", True)
    parts = urlsplit(server_url)
    assert parts.scheme == "unix"
    return f"unix://{name}@{parts.path}?password={PASSWORD}"


@pytest.fixture
def user(sealed):
    """Makes users of the rules printed, and returns the URL they connect with."""
    client = sealed.redis()

    def make(name, rules):
        sealed.closing.callback(client.execute_command, "ACL", "DELUSER", name)
        return made(sealed.engines.redis_url, client, name, rules)

    return make


@pytest.fixture(scope="module")
def confined(valkeys):
    """A caller's connection to a server on which nothing else happens."""
    server = valkeys()
    with redis.Redis.from_url(made(server.url, server.client, "mesh-caller", acl.caller_rules())) as client:
        yield client


def caller(world, url):
    mesh = Mesh(Settings.from_env(world.environ, redis_url=url))
    world.closing.callback(mesh.close, 0.5)
    return mesh


def team_id(world):
    return world.query("SELECT id::text FROM teams WHERE name = $1", world.team)[0]["id"]


def test_a_governed_call_and_its_collection(sealed, user, words):
    for text in ("600 requests/min", "$50/day", "20 concurrent"):
        sealed.limit(text)
    mesh = caller(sealed, user("mesh-caller", acl.caller_rules()))
    collector_url = user("mesh-collector", acl.collector_rules())

    async def collect():
        collector = Collector(sealed.engines.database_url, collector_url, sealed.home)
        try:
            await collector.collect_once()
        finally:
            await collector.close()

    asyncio.run(collect())  # a budget is closed until a collector has said what was spent
    mesh.chat(sealed.alias_name, words.ASK)
    assert list(mesh.stream(sealed.alias_name, words.ASK))
    assert mesh.flush(10)
    asyncio.run(collect())
    assert [row["outcome"] for row in sealed.rows("e.outcome")] == ["ok", "ok"]
    assert mesh.flush(10, collected=True)
    assert mesh.telemetry_health()


def test_an_exporter_hears_of_what_a_collector_committed(sealed, user, words):
    mesh = caller(sealed, user("mesh-caller", acl.caller_rules()))
    url = user("mesh-collector", acl.collector_rules())
    heard = []

    class Sink:
        fact = staticmethod(heard.append)

    async def run():
        exporter = Exporter(url, [Sink()], group=sealed.team)
        await exporter.once()
        mesh.chat(sealed.alias_name, words.ASK)
        assert mesh.flush(10)
        collector = Collector(sealed.engines.database_url, url, sealed.home)
        await collector.collect_once()
        await collector.close()
        await exporter.once()
        await exporter.close()

    asyncio.run(run())
    assert [fact.team_id for fact in heard] == [team_id(sealed)]


def test_a_publisher_publishes(sealed, user, words):
    url = user("mesh-publisher", acl.publisher_rules())
    marker = f"{{{team_id(sealed)}}}:tracked"

    async def change():
        options = {"actor": "tests", "signer": words.SIGNER}
        async with Admin.open(sealed.engines.database_url, url, **options) as admin:
            await admin.create_alias(name=sealed.name("other"), targets=[])
            for limit in ("$5/day", "$50/month"):
                await admin.create_limit(limit=limit, team=sealed.team)
                assert admin.unpublished is None
                assert admin.published is not None
                # The second budget finds that the first one's marker is gone.
                assert sealed.redis().delete(marker) == 1

    sealed.redis().script_flush()
    asyncio.run(change())


def test_a_caller_confined_to_its_team_counts_in_its_own_limits_and_nobody_elses(
    sealed, make_sealed, user, words
):
    theirs = make_sealed()
    for world in (sealed, theirs):
        world.limit("600 requests/min")
    url = user("confined", acl.caller_rules([team_id(sealed)]))
    caller(sealed, url).chat(sealed.alias_name, words.ASK)
    confined = redis.Redis.from_url(url)
    with pytest.raises(redis.exceptions.NoPermissionError):
        confined.get(f"{{{team_id(theirs)}}}:q:anything")
    confined.close()


@pytest.mark.parametrize(
    "command",
    [
        ("SET", config_channel.SNAPSHOT, "x"),
        ("SET", config_channel.key_name(b"k" * 32), "x"),
        ("DEL", config_channel.HANDOVERS),
        ("PUBLISH", config_channel.NEWS, "x"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("XTRIM", "mesh:facts:0", "MAXLEN", "0"),
        ("XDEL", "mesh:facts:0", "0-1"),
        ("XRANGE", "mesh:facts:0", "-", "+"),
        ("XREAD", "STREAMS", "mesh:facts:0", "0"),
        ("XRANGE", "mesh:samples", "-", "+"),
        ("HSET", "mesh:reached", "0", "9-9"),
        ("ACL", "WHOAMI"),
        ("EVAL", "return redis.call('SET', KEYS[1], 'x')", "1", config_channel.SNAPSHOT),
    ],
    ids=lambda command: " ".join(command[:2])[:30],
)
def test_a_caller_cannot(confined, command):
    with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|NOPERM"):
        confined.execute_command(*command)


def test_a_publisher_reaches_no_reservation_and_a_collector_no_configuration(sealed, user):
    publisher = redis.Redis.from_url(user("mesh-publisher", acl.publisher_rules()))
    collector = redis.Redis.from_url(user("mesh-collector", acl.collector_rules()))
    with pytest.raises(redis.exceptions.NoPermissionError):
        publisher.get(f"{{{team_id(sealed)}}}:r:anything")
    with pytest.raises(redis.exceptions.NoPermissionError):
        collector.get(config_channel.SNAPSHOT)
    publisher.close()
    collector.close()


def test_facts_that_went_missing_are_sent_again_by_a_caller_that_cannot_read_them(
    sealed, user, words, monkeypatch
):
    monkeypatch.setattr(delivery, "GONE_S", 0.2)
    mesh = caller(sealed, user("mesh-caller", acl.caller_rules()))
    collector_url = user("mesh-collector", acl.collector_rules())
    mesh.chat(sealed.alias_name, words.ASK)
    assert mesh.flush(10)
    sealed.redis().delete("mesh:facts:0")

    async def collect():
        collector = Collector(sealed.engines.database_url, collector_url)
        await collector.collect_once()
        await collector.close()

    deadline = time.monotonic() + 30
    while not sealed.rows("e.outcome"):
        assert time.monotonic() < deadline
        asyncio.run(collect())
        time.sleep(0.1)
    assert [row["outcome"] for row in sealed.rows("e.outcome")] == ["ok"]
    assert mesh.telemetry_health().resends >= 1
