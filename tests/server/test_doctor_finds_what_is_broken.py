"""Each thing `mesh doctor` looks at, broken on purpose: found, with what to do, and exit code 1."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from mesh_plugins.cli.app import build
from mesh_plugins.cli.checks import configuration, stores
from mesh_plugins.cli.checks.finding import ago, skew
from mesh_plugins.cli.checks.providers import every_provider
from mesh_store.admin import Admin
from mesh_store.model.signing import Place, seal
from mesh_store.model.snapshot import encode
from mesh_store.postgres.compile import PostgresSource
from mesh_store.redis import config_channel
from mesh_store.sync.delta import place_of
from tests.conftest import SIGNER


def the(findings, check):
    return next(finding for finding in findings if finding.check == check)


@pytest.fixture
async def redis(control):
    return control.redis


@pytest.fixture
async def published(mesh_engines, control):
    """Callers have everything, signed."""
    urls = (mesh_engines.database_url, mesh_engines.redis_url)
    async with Admin.open(*urls, actor="tests", signer=SIGNER) as admin:
        names = [name async for name in control.redis.scan_iter("mesh:{cfg}:*")]
        if names:
            await control.redis.delete(*names)
        yield await admin.publish()
    await control.redis.delete(*[name async for name in control.redis.scan_iter("mesh:{cfg}:*")])


async def test_a_whole_mesh_is_fine(control, published):
    findings = await stores.postgres(control.database) + await stores.redis(control.redis)
    findings += await configuration.published(control.database, control.redis)
    assert [finding for finding in findings if finding.state != "fine"] == []
    assert {"Postgres", "Redis", "Postgres' clock", "Redis' clock", "eviction", "persistence"} <= {
        finding.check for finding in findings
    }


async def test_an_old_or_newer_schema_names_the_command(control, monkeypatch):
    monkeypatch.setattr("mesh_store.postgres.migrate.newest_revision", lambda: "9999")
    found = the(await stores.postgres(control.database), "Postgres")
    assert (found.state, found.fix) == ("failed", "run `mesh migrate`")
    monkeypatch.setattr("mesh_store.postgres.migrate.newest_revision", lambda: "0000")
    found = the(await stores.postgres(control.database), "Postgres")
    assert (found.state, found.fix) == ("failed", "upgrade mesh-plugins here")


async def test_an_evicting_policy_and_a_full_memory_are_found(redis):
    try:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", "1gb")
        findings = await stores.redis(redis)
        assert the(findings, "eviction").state == "failed"
        assert "noeviction" in the(findings, "eviction").fix
        assert the(findings, "memory").state == "fine"
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory-policy", "noeviction")
        for share, state in ((0.6, "warning"), (0.95, "failed")):
            await redis.config_set("maxmemory", str(int(used / share)))
            assert the(await stores.redis(redis), "memory").state == state
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "0")


async def test_a_server_that_writes_nothing_down_is_found(redis):
    try:
        await redis.config_set("appendonly", "no")
        await redis.config_set("save", "")
        assert "neither" in the(await stores.redis(redis), "persistence").found
        await redis.config_set("save", "3600 1")
        found = the(await stores.redis(redis), "persistence")
        assert (found.state, "snapshots only" in found.found) == ("warning", True)
    finally:
        await redis.config_set("save", "")
        await redis.config_set("appendonly", "yes")


class Elsewhere:
    """A Redis whose clock, commands or settings are others."""

    def __init__(self, redis, **replaced):
        self._redis = redis
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(self._redis, name)


async def test_clocks_that_differ_are_found_beyond_what_asking_took(redis):
    async def tomorrow():
        return int(time.time()) + 86_400, 0

    found = the(await stores.redis(Elsewhere(redis, time=tomorrow)), "Redis' clock")
    assert found.state == "failed"
    assert "ahead" in found.found
    assert [skew("c", s, uncertain=2.0).state for s in (-2.5, 3.5, -61, -63)] == [
        "fine", "warning", "warning", "failed"
    ]  # fmt: skip


async def test_a_server_without_the_commands_we_need_is_found(redis):
    async def none(*_):
        return [None]

    found = the(await stores.redis(Elsewhere(redis, execute_command=none)), "commands")
    assert (found.state, "6.2" in found.fix) == ("failed", True)


async def test_redis_ahead_of_postgres_names_the_command_for_a_restored_database(control, published):
    ahead = f"{published.epoch} {published.revision + 7}"
    await control.redis.set(config_channel.HEAD, ahead)
    keys = Place(published.epoch, published.keys_revision + 7)
    await control.redis.set(config_channel.COMPLETE, config_channel.complete_marker(keys))
    findings = await configuration.published(control.database, control.redis)
    for check in ("configuration", "keys"):
        found = the(findings, check)
        assert found.state == "failed"
        assert "ahead of Postgres" in found.found
        assert "mesh migrate --restored" in found.fix


async def test_callers_who_are_behind_are_found_with_since_when(control, published, repo, house):
    await repo.update_team(house.team, description="newer")
    fresh = the(await configuration.published(control.database, control.redis), "configuration")
    assert (fresh.state, "since" in fresh.found) == ("warning", True)
    async with control.database.begin() as session:
        from sqlalchemy import text

        query = text("UPDATE changes SET at = at - interval '1 hour' WHERE revision > :revision")
        await session.execute(query, {"revision": published.revision})
    late = the(await configuration.published(control.database, control.redis), "configuration")
    assert late.state == "failed"
    assert "60 min" in late.found
    assert "mesh serve" in late.fix


async def test_nothing_published_a_lost_document_and_a_damaged_one_are_found(control, published):
    await control.redis.set(config_channel.SNAPSHOT, b"garbage")
    assert the(await configuration.published(control.database, control.redis), "snapshot").state == "failed"
    await control.redis.delete(config_channel.SNAPSHOT)
    found = the(await configuration.published(control.database, control.redis), "snapshot")
    assert (found.state, "no document" in found.found) == ("failed", True)
    await control.redis.delete(config_channel.HEAD, config_channel.COMPLETE)
    findings = await configuration.published(control.database, control.redis)
    assert "nothing" in the(findings, "configuration").found


async def test_a_configuration_nobody_signed_is_found(mesh_engines, control, published):
    await control.redis.delete(*[name async for name in control.redis.scan_iter("mesh:{cfg}:*")])
    source = PostgresSource(control.database)
    await source.prepare(SIGNER.master)
    document = await source.compile_snapshot()
    sealed = seal("snapshot", place_of(document), encode(document))
    await config_channel.publish_snapshot(control.redis, place_of(document), sealed, base=None, delta=b"")
    found = the(await configuration.published(control.database, control.redis), "snapshot")
    assert (found.state, "MESH_SECRET_KEY" in found.fix) == ("warning", True)


async def test_a_publisher_other_than_the_one_named_here_is_found(control, published):
    for variable in ("MESH_SECRET_KEY", "MESH_TRUST_KEY"):
        look = configuration.published
        found = the(await look(control.database, control.redis, {variable: b"o" * 32}), "snapshot")
        assert (found.state, variable in found.found, variable in found.fix) == ("failed", True, True)
        assert SIGNER.public.hex() in found.found
        fine = the(await look(control.database, control.redis, {variable: SIGNER.public}), "snapshot")
        assert fine.state == "fine"


async def test_a_postgres_that_is_too_old_is_found(control, monkeypatch):
    from mesh_store.postgres import examining

    true = await examining.vitals(control.database)

    async def old(_):
        return true._replace(version="13.22")

    monkeypatch.setattr(examining, "vitals", old)
    found = the(await stores.postgres(control.database), "Postgres")
    assert (found.state, found.fix) == ("failed", "use Postgres 14 or newer")


async def test_providers_are_knocked_at_without_a_secret(control, repo, house, stand_in, monkeypatch):
    monkeypatch.setenv("DOCTOR_KEY", "sk-canary-1")
    monkeypatch.delenv("DOCTOR_NONE", raising=False)
    good, bad = f"{house.team}-good", f"{house.team}-bad"
    await repo.create_provider(name=good, kind="openai", base_url=stand_in.base_url, secret="env:DOCTOR_KEY")
    secrets = {"api_key": "file:/nowhere/key", "other": "env:DOCTOR_NONE"}
    await repo.create_provider(name=bad, kind="openai", base_url="http://127.0.0.1:1/v1", secret=secrets)
    everyone = (await repo.list_providers(limit=1000)).items
    ours = [provider for provider in everyone if provider.name in (good, bad)]

    async def only_ours(_):
        return ours

    monkeypatch.setattr("mesh_plugins.cli.checks.providers._live", only_ours)
    findings = await every_provider(control.database)
    assert the(findings, f"secret of {good}").state == the(findings, f"provider {good}").state == "fine"
    assert the(findings, f"secret of {bad}").state == "warning"
    assert "/nowhere/key" in the(findings, f"secret of {bad}").found
    assert the(findings, f"provider {bad}").state == "failed"
    assert "sk-canary-1" not in str(findings)


def doctor(environ, *options):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    return CliRunner().invoke(build("doctor"), ["doctor", "--json", *options], env=kept | environ)


def test_the_command_ends_with_one_when_something_failed_and_prints_what(make_world):
    world = make_world()
    environ = world.environ
    done = doctor(environ)
    rows = json.loads(done.stdout)
    assert done.exit_code == (1 if any(row["state"] == "failed" for row in rows) else 0)
    assert the_row(rows, "key")["state"] == "fine"
    assert all(row["fix"] for row in rows if row["state"] != "fine")

    world.run(lambda admin: admin.revoke_key(world.key_id))
    done = doctor(environ)
    assert done.exit_code == 1
    found = the_row(json.loads(done.stdout), "key")
    assert (found["state"], "mesh key create" in found["fix"]) == ("failed", True)

    _, soon = world.new_key(expires="2d")
    assert the_row(json.loads(doctor(environ | {"MESH_KEY": soon}).stdout), "key")["state"] == "warning"


def test_engines_that_are_away_are_findings_and_the_rest_is_looked_at_still(tmp_path):
    environ = {
        "MESH_DATABASE_URL": "postgresql://eve:hunter2@127.0.0.1:1/x",
        "MESH_REDIS_URL": "redis://127.0.0.1:1/0",
        "MESH_HOME": str(tmp_path),
    }
    done = doctor(environ, "--providers")
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert the_row(rows, "Postgres")["state"] == the_row(rows, "Redis")["state"] == "failed"
    assert the_row(rows, "telemetry")["state"] == "fine"
    assert "hunter2" not in done.stdout


def the_row(rows, check):
    return next(row for row in rows if row["check"] == check)


def test_ages_are_said_in_the_largest_unit_that_says_enough():
    said = [ago(timedelta(seconds=s)) for s in (-1, 0, 119, 120, 7200, 86_400, 172_800)]
    assert said == ["0 s", "0 s", "119 s", "2 min", "2 h", "24 h", "2 d"]
