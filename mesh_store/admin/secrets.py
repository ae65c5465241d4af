"""Changing MESH_SECRET_KEY: everything sealed anew, and callers told whom to believe from now on."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import select

from mesh_store.admin.admin import PUBLISH_DEADLINE
from mesh_store.model.errors import ConfigError, SecretError
from mesh_store.model.ids import new_id
from mesh_store.model.sealing import DataKey, Master, open_values, seal_values
from mesh_store.model.signing import Signer, hand_over
from mesh_store.postgres import Database
from mesh_store.postgres.compile import PostgresSource
from mesh_store.postgres.history_tables import RevisionsRow
from mesh_store.postgres.migrate import check
from mesh_store.postgres.repository.work import Work, work
from mesh_store.postgres.resealing import driver
from mesh_store.postgres.sealing import check_master
from mesh_store.postgres.secret_tables import HandoverRow
from mesh_store.postgres.statements import statements
from mesh_store.redis.client import connect_async
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
            count = await reseal_all(database, old, new, actor=actor)
            await publish(PostgresSource(database), redis, signer=new)
            return count
    finally:
        await redis.aclose()


async def reseal_all(database: Database, old: Signer, new: Signer, *, actor: str) -> int:
    """Seal everything in the database under another master and hand over, in one transaction."""
    sql, held = statements("sealing"), new.master
    async with work(database, actor) as current:
        raw = await driver(current)
        await raw.execute(sql["lock"])
        rows = [row for row in await raw.fetch(sql["masters"]) if row["master"] != held.id]
        for row in rows:
            check_master(old.master, row["master"], f"a {row['kind']} ({row['id']})")
            sealed = _sealed_anew(row, old.master, held)
            await raw.execute(sql["under_" + row["kind"]], row["id"], sealed, held.id)
        if await _hand_over(current, old, new) or rows:
            current.record("master.rotate", entity_id=held.id, name="MESH_SECRET_KEY")
        return len(rows)


async def _hand_over(current: Work, old: Signer, new: Signer) -> bool:
    """Note that ``new`` follows, and begin the epoch it signs; False when that was done before."""
    last = select(HandoverRow.new).order_by(HandoverRow.id.desc()).limit(1)
    if (await current.session.execute(last)).scalar() == new.public:
        return False
    given = hand_over(old, new)
    current.session.add(HandoverRow(old=given.old, new=given.new, signature=given.signature))
    revisions = (await current.session.execute(select(RevisionsRow).with_for_update())).scalar_one()
    revisions.epoch = new_id()
    return True


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
