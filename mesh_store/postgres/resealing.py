"""Bringing data keys up to date: before each publish, and once for all that happened since the last.

A team gets a data key when it may first use a provider whose secret is stored. It gets another one
when somebody who holds the present one should not open what is sealed from now on: a key was revoked,
a key or a rotated secret ended, or the team lost a provider. New keys are handed the present one.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

from mesh_store.model.ids import new_id
from mesh_store.model.sealing import DataKey, Master
from mesh_store.postgres.database import Database
from mesh_store.postgres.repository.work import Work, work
from mesh_store.postgres.sealing import data_key
from mesh_store.postgres.statements import statements

ACTOR = "publisher"


class Team(NamedTuple):
    """A team and the data key it has, if any; ``is_stale`` when it should not be used any more."""

    id: str
    name: str
    data_key: str | None = None
    covers: frozenset[str] = frozenset()
    is_stale: bool = False


async def reseal(database: Database, master: Master) -> datetime | None:
    """Retire data keys that somebody holds who should not, and hand the present ones out.

    Returns:
        when the next key ends that holds one; None when none will, as things are.
    """
    sql = statements("sealing")
    async with work(database, ACTOR) as current:
        raw = await driver(current)
        if not await raw.fetchval(sql["in_use"]):
            return None
        await raw.execute(sql["lock"])
        entitled: dict[str, set[str]] = defaultdict(set)
        for row in await raw.fetch(sql["entitled"]):
            entitled[row["team_id"]].add(row["provider_id"])
        teams = {row["team_id"]: _team(row, master) for row in await raw.fetch(sql["held"])}
        for row in await raw.fetch(sql["reachable"], list(entitled.keys() - teams.keys())):
            teams[row["team_id"]] = Team(row["team_id"], row["name"])
        await _renew(current, raw, master, list(teams.values()), entitled)
        await raw.execute(sql["hand_out"])
        ends: datetime | None = await raw.fetchval(sql["next_end"])
        return ends


async def _renew(
    current: Work, raw: Any, master: Master, teams: list[Team], entitled: dict[str, set[str]]
) -> None:
    sql = statements("sealing")
    stale = [team for team in teams if team.data_key and (team.is_stale or team.covers - entitled[team.id])]
    ids = [team.id for team in stale]
    await raw.execute(sql["forget"], ids)
    await raw.execute(sql["retire"], ids)
    for team in teams:
        wanted = sorted(entitled[team.id])
        if team.data_key is None or team in stale:
            if wanted:
                key = DataKey.generate(new_id(), team.id)
                await raw.execute(sql["add"], key.id, team.id, key.keep(master), master.id, wanted)
            verb = "retire" if not wanted else "create" if team.data_key is None else "rotate"
            current.record(f"data_key.{verb}", entity_id=team.id, name=team.name)
        elif entitled[team.id] - team.covers:
            await raw.execute(sql["cover"], team.data_key, wanted)


def _team(row: Any, master: Master) -> Team:
    is_stale = row["has_ended"] or data_key(master, row) is None
    return Team(row["team_id"], row["name"], row["id"], frozenset(row["covers"]), is_stale)


async def driver(current: Work) -> Any:
    """Return asyncpg's own connection, inside the transaction of this work."""
    connection = await current.session.connection()
    await connection.exec_driver_sql("SELECT 1")
    return (await connection.get_raw_connection()).driver_connection
