"""Reading what happened: the audit log."""

from __future__ import annotations

from sqlalchemy import select

from mesh_store.model.entities import AuditEntry, Page
from mesh_store.model.errors import Rejected
from mesh_store.postgres.history_tables import AuditRow
from mesh_store.postgres.repository.part import MAX_PAGE, Part, as_id


class History(Part):
    """Who did what, newest first."""

    async def list_audit(
        self,
        *,
        kind: str | None = None,
        entity_id: str | None = None,
        actor: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[AuditEntry]:
        """Return a page of the audit log, newest first; the cursor is the last entry's id."""
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
            raise Rejected(f"limit: a page holds 1 to {MAX_PAGE} items", field="limit")
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
        for column, value in (
            (AuditRow.kind, kind),
            (AuditRow.entity_id, entity_id),
            (AuditRow.actor, actor),
        ):
            if value is not None:
                query = query.where(column == value)
        if after is not None:
            query = query.where(AuditRow.id < as_id("after", after))
        async with self._reading() as session:
            rows = list((await session.execute(query)).scalars())
        entries = tuple(
            AuditEntry.model_validate({name: getattr(row, name) for name in AuditEntry.model_fields})
            for row in rows[:limit]
        )
        return Page(entries, entries[-1].id if len(rows) > limit else None)
