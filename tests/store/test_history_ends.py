"""The audit log, changes and dead letters go back as far as an operator says, and nothing else goes."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from mesh_plugins.cli.app import build
from mesh_store.model.errors import Rejected
from mesh_store.postgres import history_retention
from mesh_store.postgres.examining import waiting_since
from mesh_store.postgres.history_retention import Kept, prune_history

KEPT = Kept(audit_days=90, changes_days=30, dead_days=30)
OLD_AUDIT = """
INSERT INTO audit_log (id, at, actor, action, kind, entity_id, entity_name, revision, keys_revision)
VALUES (gen_random_uuid(), now() - make_interval(days => CAST(:days AS int)), 'ada', 'team.create', 'team',
        'x', 'x', 1, 0)
"""
OLD_DEAD = """
INSERT INTO telemetry_dead (digest, at, reason, detail, ring, body)
VALUES (decode(md5(CAST(CAST(:days AS int) AS text)), 'hex'),
        now() - make_interval(days => CAST(:days AS int)), 'late', '', '', '')
"""


@pytest.fixture
async def aged(database, repo, monkeypatch):
    """A database with old and young history of every kind; two changes of each stream always stay."""
    monkeypatch.setattr(history_retention, "CHANGES_KEPT", 2)
    for number in range(4):
        await repo.create_team(name=f"team{number}")
    async with database.begin() as session:
        await session.execute(text("DELETE FROM telemetry_dead"))
        for days in (10, 50, 100):
            await session.execute(text(OLD_AUDIT), {"days": days})
            await session.execute(text(OLD_DEAD), {"days": days})
        await session.execute(text("UPDATE changes SET at = now() - interval '40 days' WHERE revision <= 3"))
    return database


async def count(database, table):
    async with database.connect() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


async def test_what_is_older_goes_and_what_is_younger_stays(aged):
    told = await prune_history(aged, KEPT, actor="ops", dry_run=True)
    assert told == (1, 2, 2)
    assert await count(aged, "telemetry_dead") == 3
    assert await prune_history(aged, KEPT, actor="ops") == told
    assert await count(aged, "telemetry_dead") == 1
    assert await prune_history(aged, KEPT, actor="ops") == (0, 0, 0)


async def test_that_it_was_done_is_in_the_audit_log(aged, repo):
    await prune_history(aged, KEPT, actor="ops")
    await prune_history(aged, KEPT, actor="nobody, as nothing was left to do")
    [latest, *_] = (await repo.list_audit(kind="history")).items
    assert (latest.actor, latest.action, latest.after) == ("ops", "history.prune", KEPT.model_dump())


async def test_the_latest_changes_stay_however_old_they_are(aged):
    async with aged.begin() as session:
        await session.execute(text("UPDATE changes SET at = now() - interval '400 days'"))
    assert await waiting_since(aged, 2) is not None
    await prune_history(aged, KEPT, actor="ops")
    assert await count(aged, "changes") == 2
    assert await waiting_since(aged, 2) is not None, "doctor still says since when callers wait"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE at < now() - interval '80 days'",
        "UPDATE audit_log SET actor = 'nobody'",
        "TRUNCATE audit_log",
        "SELECT set_config('mesh.prune_before', now()::text, true); DELETE FROM audit_log",
        "SELECT set_config('mesh.prune_before', '', true); DELETE FROM audit_log",
    ],
)
async def test_the_database_gives_nothing_young_away_and_nothing_by_hand(aged, statement):
    with pytest.raises(DBAPIError, match="only ever appended to"):
        async with aged.begin() as session:
            for each in statement.split("; "):
                await session.execute(text(each))


async def test_less_than_30_days_of_audit_are_refused(database):
    with pytest.raises(Rejected, match="30 days at least"):
        await prune_history(database, Kept(audit_days=29, changes_days=1, dead_days=1), actor="ops")


def test_the_command_says_what_went(make_world):
    environ = make_world().environ

    def prune(*options):
        return CliRunner().invoke(build("history"), ["history", "prune", *options], env=environ)

    assert json.loads(prune("--dry-run", "--json").stdout)["dry_run"] is True
    assert prune("--keep-audit-days", "3").exit_code == 2
    assert "rows of the audit log" in prune().stdout
