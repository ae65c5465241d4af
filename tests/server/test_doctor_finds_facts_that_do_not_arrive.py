"""What `mesh doctor` says of facts: collectors that are away, backlogs, losses, dead letters and rings."""

from __future__ import annotations

import json

import pytest

from mesh_plugins.cli.checks import facts
from mesh_store.model.ids import now_us
from mesh_store.redis.stream import COLLECTORS, LOST, stream_key
from mesh_store.telemetry.files import create
from mesh_store.telemetry.looking import rings, why_only_memory


def the(findings, check):
    return next(finding for finding in findings if finding.check == check)


@pytest.fixture
async def redis(control):
    return control.redis


@pytest.fixture
async def quiet(redis):
    """Nobody collects and nothing waits."""
    names = (COLLECTORS, LOST, stream_key(0))
    await redis.delete(*names)
    yield redis
    await redis.delete(*names)


async def test_a_missing_collector_is_worse_when_facts_wait(quiet):
    assert the(await facts.stream(quiet), "collector").state == "warning"
    await quiet.xadd(stream_key(0), {"n": "1"})
    found = the(await facts.stream(quiet), "collector")
    assert (found.state, "mesh collect" in found.fix) == ("failed", True)
    await quiet.hset(COLLECTORS, "one", json.dumps({"at_us": now_us() - 120_000_000}))
    assert the(await facts.stream(quiet), "collector").state == "failed", "it fell silent"
    await quiet.hset(COLLECTORS, "two", json.dumps({"at_us": now_us()}))
    assert the(await facts.stream(quiet), "collector").state == "fine"


async def test_a_long_backlog_and_reported_losses_are_found(quiet, monkeypatch):
    monkeypatch.setattr(facts, "LONG_BACKLOG", 2)
    for _ in range(3):
        await quiet.xadd(stream_key(0), {"n": "1"})
    await quiet.hset(LOST, mapping={"facts": 4, "refused": 0, "micro_usd": 1_250_000})
    findings = await facts.stream(quiet)
    assert the(findings, "backlog").state == the(findings, "losses").state == "warning"
    assert "4 facts, worth $1.250000" in the(findings, "losses").found
    assert "refused" not in the(findings, "losses").found


async def test_money_that_budgets_count_without_a_fact_is_named(control):
    from sqlalchemy import text

    from mesh_store.postgres.examining import untold_money

    # Other tests share these engines, and may have left some.
    before = the(await facts.dead(control.database), "budgets")
    windows, _ = await untold_money(control.database)
    async with control.database.begin() as session:
        await session.execute(
            text(
                "INSERT INTO budget_windows"
                " (key, starts_at, ends_at, spent_pico_usd, version, untold_pico_usd)"
                " VALUES ('doctor', now(), now(), 3000000000000000, 1, 1500000000000000)"
            )
        )
    try:
        found = the(await facts.dead(control.database), "budgets")
        assert (found.state, f"{windows + 1} windows" in found.found, "$1500" in found.found) == (
            "warning",
            True,
            True,
        )
    finally:
        async with control.database.begin() as session:
            await session.execute(text("DELETE FROM budget_windows WHERE key = 'doctor'"))
    assert the(await facts.dead(control.database), "budgets") == before


async def test_dead_letters_are_counted_by_reason(control):
    from sqlalchemy import text

    add = text(
        "INSERT INTO telemetry_dead (digest, reason, detail, ring, body) VALUES"
        " (decode(md5('doctor'), 'hex'), 'poison', '', '', '')"
    )
    async with control.database.begin() as session:
        await session.execute(add)
    try:
        found = (await facts.dead(control.database))[0]
        assert (found.state, "1 poison" in found.found) == ("warning", True)
    finally:
        async with control.database.begin() as session:
            await session.execute(text("DELETE FROM telemetry_dead WHERE reason = 'poison'"))


def test_rings_left_behind_full_or_damaged_are_found_and_not_touched(tmp_path):
    assert the(facts.rings_of(tmp_path), "rings").state == "fine"
    left = create(tmp_path, 65_536)
    left.ring.append(b"x" * 1000)
    assert [(ring.alive, ring.used_bytes > 1000) for ring in rings(tmp_path)] == [(True, True)]
    assert the(facts.rings_of(tmp_path), "rings").state == "fine", "its process lives"
    left.close()
    before = left.path.read_bytes()
    found = the(facts.rings_of(tmp_path), "rings")
    assert (found.state, "mesh drain" in found.fix) == ("warning", True)
    assert left.path.read_bytes() == before
    full = create(tmp_path, 65_536)
    while full.ring.append(b"x" * 8000):
        pass
    assert the(facts.rings_of(tmp_path), "rings").state == "failed"
    full.close()
    left.path.write_bytes(b"\0" * 8192)
    assert "cannot be read" in the(facts.rings_of(tmp_path), "rings").found


def test_a_home_without_files_means_memory_and_says_so(tmp_path, monkeypatch):
    assert why_only_memory(tmp_path / "not" / "yet") is None
    assert not (tmp_path / "not").exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mesh_store.telemetry.files._allocate", full)
    found = the(facts.rings_of(tmp_path), "telemetry")
    assert (found.state, "No space left" in found.found, "MESH_HOME" in found.fix) == ("warning", True, True)
