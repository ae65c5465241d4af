"""What one team may see of everything: for tokens and reports that know of a single team.

By the team's id throughout: a name may belong to another team once the first was archived.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Text, and_, cast, or_, select

from mesh_store.model.entities import AliasEntity, AuditEntry, KeyEntity, LimitEntity, Page
from mesh_store.model.errors import NotFound, Rejected
from mesh_store.postgres.history_tables import AuditRow
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import KeyRow, TeamRow, UserRow
from mesh_store.postgres.repository.alias_values import alias_entities
from mesh_store.postgres.repository.key_values import key_entities
from mesh_store.postgres.repository.limit_values import LIMIT_VALUES, limit_entity
from mesh_store.postgres.repository.part import MAX_PAGE, Part, as_id, as_text, found, page_of
from mesh_store.postgres.routing_tables import AliasGrantRow, AliasRow, ProviderRow


class TeamScope(Part):
    """Listings narrowed to one team by its id, and questions of belonging."""

    async def hold_team(self, team_id: str, name: str) -> None:
        """Inside a batch: make sure that a team is alive and called so until the batch ends.

        Raises:
            NotFound: it is not; what was to be changed may belong to another team of that name.
        """
        query = select(TeamRow.id).where(
            TeamRow.id == team_id, TeamRow.name == name, TeamRow.archived_at.is_(None)
        )
        async with self._reading() as session:
            held = (await session.execute(query.with_for_update(read=True))).scalar_one_or_none()
        if held is None:
            raise NotFound(f"there is no team {name[:128]!r}", field="team")

    async def aliases_for_team(
        self, team_id: str, *, after: str | None = None, limit: int = 100
    ) -> Page[AliasEntity]:
        """Return a page of the aliases a team may use, its own and global ones.

        A global alias shows as granted to this team alone: who else has it is not this team's business.
        """
        async with self._reading() as session:
            query = select(AliasRow).where(_usable(team_id))
            rows, following = await page_of(session, query, (AliasRow.name, AliasRow.id), after, limit)
            name = (await session.execute(select(TeamRow.name).where(TeamRow.id == team_id))).scalar_one()
            entities = await alias_entities(session, [row[0] for row in rows])
        return Page(tuple(_as_seen_by(name, alias) for alias in entities), following)

    async def alias_for_team(self, team_id: str, name: str) -> AliasEntity:
        """Return the alias a team means by a name, or raise `NotFound`."""
        query = select(AliasRow).where(_usable(team_id), AliasRow.name == as_text("alias", name))
        async with self._reading() as session:
            row = (await session.execute(query.order_by(AliasRow.team_id.nulls_last()).limit(1))).scalar()
            if row is None:
                raise NotFound(f"there is no alias {name[:128]!r}", field="alias")
            team = (await session.execute(select(TeamRow.name).where(TeamRow.id == team_id))).scalar_one()
            return _as_seen_by(team, (await alias_entities(session, [row]))[0])

    async def key_of_team(self, team_id: str, key_id: str) -> KeyEntity:
        """Return a key of a team, or raise `NotFound`, as if those of others did not exist."""
        query = select(KeyRow).where(KeyRow.id == as_text("key", key_id), KeyRow.team_id == team_id)
        async with self._reading() as session:
            return (await key_entities(session, [await found(session, query, f"key {key_id[:16]!r}")]))[0]

    async def limits_of_team(
        self,
        team_id: str,
        *,
        user: str | None = None,
        key: str | None = None,
        archived: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[LimitEntity]:
        """Return a page of the limits on a team, on its members as such, and on its keys."""
        query = LIMIT_VALUES.where(_limit_of(team_id))
        if user is not None:
            query = query.where(UserRow.name == user)
        if key is not None:
            query = query.where(LimitRow.key_id == key)
        if not archived:
            query = query.where(LimitRow.archived_at.is_(None))
        async with self._reading() as session:
            rows, following = await page_of(session, query, (LimitRow.id,), after, limit)
        return Page(tuple(limit_entity(row) for row in rows), following)

    async def limit_of_team(self, team_id: str, limit_id: str) -> LimitEntity:
        """Return a limit of a team, or raise `NotFound`, as if those of others did not exist."""
        query = LIMIT_VALUES.where(LimitRow.id == as_id("limit", limit_id), _limit_of(team_id))
        async with self._reading() as session:
            row = (await session.execute(query)).one_or_none()
        if row is None:
            raise NotFound(f"there is no limit {limit_id[:40]!r}", field="limit")
        return limit_entity(row)

    async def audit_of_team(
        self,
        team_id: str,
        *,
        kind: str | None = None,
        entity_id: str | None = None,
        actor: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[AuditEntry]:
        """Return a page of what was done to a team, its members, keys, limits, own aliases and accounts."""
        if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
            raise Rejected(f"limit: a page holds 1 to {MAX_PAGE} items", field="limit")
        query = select(AuditRow).where(_audit_of(team_id)).order_by(AuditRow.id.desc()).limit(limit + 1)
        narrowed = ((AuditRow.kind, kind), (AuditRow.entity_id, entity_id), (AuditRow.actor, actor))
        for column, value in narrowed:
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


def _usable(team_id: str) -> ColumnElement[bool]:
    granted = select(AliasGrantRow.alias_id).where(AliasGrantRow.team_id == team_id)
    return and_(
        AliasRow.archived_at.is_(None),
        or_(
            AliasRow.team_id == team_id,
            and_(AliasRow.team_id.is_(None), or_(AliasRow.everyone, AliasRow.id.in_(granted))),
        ),
    )


def _as_seen_by(team: str, alias: AliasEntity) -> AliasEntity:
    return alias if alias.grants is None else alias.model_copy(update={"grants": (team,)})


def _keys_of(team_id: str) -> ColumnElement[bool]:
    return LimitRow.key_id.in_(select(KeyRow.id).where(KeyRow.team_id == team_id))


def _limit_of(team_id: str) -> ColumnElement[bool]:
    # A limit may name a team and a key of another one; it binds nobody, and is nobody's to see.
    ours = or_(LimitRow.team_id == team_id, and_(LimitRow.team_id.is_(None), _keys_of(team_id)))
    return and_(ours, or_(LimitRow.key_id.is_(None), _keys_of(team_id)))


def _audit_of(team_id: str) -> ColumnElement[bool]:
    limits = select(cast(LimitRow.id, Text)).where(_limit_of(team_id))
    aliases = select(cast(AliasRow.id, Text)).where(AliasRow.team_id == team_id)
    accounts = select(cast(ProviderRow.id, Text)).where(ProviderRow.team_id == team_id)
    keys = select(KeyRow.id).where(KeyRow.team_id == team_id)
    return or_(
        and_(AuditRow.kind == "team", AuditRow.entity_id == team_id),
        and_(AuditRow.kind == "member", AuditRow.entity_id.like(f"{team_id}/%")),
        and_(AuditRow.kind == "key", AuditRow.entity_id.in_(keys)),
        and_(AuditRow.kind == "limit", AuditRow.entity_id.in_(limits)),
        and_(AuditRow.kind == "alias", AuditRow.entity_id.in_(aliases)),
        and_(AuditRow.kind.in_(("provider", "secret")), AuditRow.entity_id.in_(accounts)),
    )
