"""What follows when something goes out of use: its keys are revoked, its limits archived."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select, update

from mesh_store.model.entities import KeyEntity
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import KeyRow
from mesh_store.postgres.repository.key_values import key_entities
from mesh_store.postgres.repository.part import now
from mesh_store.postgres.repository.work import Work


async def revoke_keys(work: Work, which: ColumnElement[bool]) -> list[KeyEntity]:
    """Revoke every key that matches and is not revoked yet, each with its limits and an audit entry."""
    query = select(KeyRow).where(which, KeyRow.revoked_at.is_(None)).order_by(KeyRow.id).with_for_update()
    rows = list((await work.session.execute(query)).scalars())
    before = await key_entities(work.session, rows)
    at = now()
    for row in rows:
        row.revoked_at = at
    await work.flush()
    await archive_limits(work, LimitRow.key_id.in_([row.id for row in rows]))
    after = await key_entities(work.session, rows)
    for old, new in zip(before, after, strict=True):
        work.record("key.revoke", entity_id=new.id, name=new.id, before=old, after=new)
    return after


async def archive_limits(work: Work, which: ColumnElement[bool]) -> None:
    """Archive every live limit that matches; the thing it was on says why."""
    await work.session.execute(
        update(LimitRow)
        .where(which, LimitRow.archived_at.is_(None))
        .values(archived_at=now())
        .execution_options(synchronize_session=False)
    )
