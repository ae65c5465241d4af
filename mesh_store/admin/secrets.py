"""Changing MESH_SECRET_KEY: everything sealed anew, and callers told whom to believe from now on."""

from __future__ import annotations

import logging
from typing import Any

from mesh_store.admin.admin import PUBLISH_DEADLINE
from mesh_store.model.errors import ConfigError, SecretError
from mesh_store.model.sealing import DataKey, Master, open_values, seal_values
from mesh_store.model.signing import Signer, hand_over
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.postgres.migrate import check
from mesh_store.postgres.repository.work import work
from mesh_store.postgres.resealing import driver
from mesh_store.postgres.sealing import check_master
from mesh_store.postgres.statements import statements
from mesh_store.redis.client import connect_async
from mesh_store.redis.config_channel import publish_handover
from mesh_store.sync.publisher import publish

log = logging.getLogger(__name__)


async def rotate_master(database_url: str, redis_url: str, old: Signer, new: Signer, *, actor: str) -> int:
    """Seal under ``new`` what is sealed under ``old``, and hand publishing over to it.

    May be run again after it was interrupted: what is under the new master already stays.

    Args:
        database_url: where the sealed things are.
        redis_url: where callers learn of the handover.
        old: what they are sealed under, and who signed so far.
        new: what follows.
        actor: who does it, for the audit log.

    Returns:
        how many things were sealed anew.

    Raises:
        ConfigError: both are the same.
        SecretError: something is sealed under neither; nothing was changed.
    """
    if old.master.id == new.master.id:
        raise ConfigError("the new key is the old one")
    redis = connect_async(redis_url, deadline=PUBLISH_DEADLINE, connect_deadline=2)
    try:
        async with Database(database_url) as database:
            await check(database)
            count = await reseal_all(database, old.master, new.master, actor=actor)
            await publish_handover(redis, hand_over(old, new))
            await database.start_epoch()
            await publish(PostgresSource(database), redis, signer=new)
            return count
    finally:
        await redis.aclose()


async def reseal_all(database: Database, old: Master, new: Master, *, actor: str) -> int:
    """Seal everything in the database under another master, in one transaction."""
    sql = statements("sealing")
    async with work(database, actor) as current:
        raw = await driver(current)
        await raw.execute(sql["lock"])
        rows = [row for row in await raw.fetch(sql["masters"]) if row["master"] != new.id]
        for row in rows:
            check_master(old, row["master"], f"a {row['kind']} ({row['id']})")
            await raw.execute(sql["under_" + row["kind"]], row["id"], _sealed_anew(row, old, new), new.id)
        if rows:
            current.record("master.rotate", entity_id=new.id, name="MESH_SECRET_KEY")
        return len(rows)


def _sealed_anew(row: Any, old: Master, new: Master) -> bytes:
    """Return a row's bytes under the new master; those that do not open stay what they are: broken."""
    kept = bytes(row["sealed"])
    try:
        if row["kind"] == "data_key":
            return DataKey.unkeep(old, row["id"], row["team_id"], kept).keep(new)
        bound = (row["id"], row["address"], row["version"])
        return seal_values(new, *bound, open_values(old, *bound, kept))
    except SecretError as error:
        log.error("%s; it is not sealed anew", error)
        return kept
