"""Bringing data keys up to date: before each publish, and once for all that happened since the last.

A team gets a data key when it may first use a provider whose secret is stored; its keys hold it, except
those confined to some aliases, which hold one for exactly the providers these lead to (`confined`). A data
key is replaced when somebody who holds it should not open what is sealed from now on: a key was revoked, a
key or a rotated secret ended, or the team, or a confined key, lost a provider. New keys are handed the
present one.

Only what changed since the last look is looked at, which `sealing_state` remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from mesh_store.model.ids import new_id
from mesh_store.model.sealing import DataKey, Master
from mesh_store.postgres.confined import Confined
from mesh_store.postgres.database import Database
from mesh_store.postgres.repository.work import Work, work
from mesh_store.postgres.sealing import data_key, retire
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
        # What is committed after this line has a higher revision, and is looked at next time.
        state = await raw.fetchrow(sql["state"])
        since = -1 if state["is_due"] else state["keys_looked_at"]
        ended = {row["id"] for row in await raw.fetch(sql["ended"], since)}
        renewed: list[str] = []
        reach = state["reach"]
        if ended or state["revision"] != state["looked_at"] or since < state["keys_revision"]:
            held = await raw.fetch(sql["held"])
            broken = {row["id"] for row in held if data_key(master, row) is None}
            confined = await Confined.read(raw, held, ended | broken, since, reach)
            reach = confined.reach
            entitled: dict[str, set[str]] = defaultdict(set)
            for row in await raw.fetch(sql["entitled"]):
                entitled[row["team_id"]].add(row["provider_id"])
            teams = await _teams(raw, held, confined.stale, entitled)
            renewed = await _renew(current, raw, master, teams, entitled)
            await confined.hand_out(current, raw, master)
        await raw.execute(sql["hand_out"], since, renewed)
        await retire(raw, [row["id"] for row in await raw.fetch(sql["unheld"])])
        ends = [await raw.fetchval(sql["next_end"], since), None if state["is_due"] else state["next_end"]]
        next_end = min((end for end in ends if end is not None), default=None)
        await raw.execute(sql["looked"], state["revision"], state["keys_revision"], next_end, reach)
        return next_end


async def _teams(raw: Any, held: Sequence[Any], stale: set[str], entitled: dict[str, set[str]]) -> list[Team]:
    teams = {
        row["team_id"]: Team(
            row["team_id"], row["name"], row["id"], frozenset(row["covers"]), row["id"] in stale
        )
        for row in held
        if row["scope"] is None
    }
    for row in await raw.fetch(statements("sealing")["reachable"], list(entitled.keys() - teams.keys())):
        teams[row["team_id"]] = Team(row["team_id"], row["name"])
    return list(teams.values())


async def _renew(
    current: Work, raw: Any, master: Master, teams: list[Team], entitled: dict[str, set[str]]
) -> list[str]:
    """Give teams another data key where they need one; return their ids."""
    sql, renewed = statements("sealing"), []
    stale = {
        team.id: team.data_key
        for team in teams
        if team.data_key and (team.is_stale or team.covers - entitled[team.id])
    }
    await retire(raw, list(stale.values()))
    for team in teams:
        wanted = sorted(entitled[team.id])
        if team.data_key is None or team.id in stale:
            if wanted:
                key = DataKey.generate(new_id(), team.id)
                await raw.execute(sql["add"], key.id, team.id, key.keep(master), master.id, wanted, None)
                renewed.append(team.id)
            verb = "retire" if not wanted else "create" if team.data_key is None else "rotate"
            current.record(f"data_key.{verb}", entity_id=team.id, name=team.name)
        elif entitled[team.id] - team.covers:
            await raw.execute(sql["cover"], team.data_key, wanted)
    return renewed


async def driver(current: Work) -> Any:
    """Return asyncpg's own connection, inside the transaction of this work."""
    connection = await current.session.connection()
    await connection.exec_driver_sql("SELECT 1")
    return (await connection.get_raw_connection()).driver_connection
