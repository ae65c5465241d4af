"""Teams, users and members."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import (
    MemberEntity,
    MemberSpec,
    Page,
    TeamEntity,
    TeamSpec,
    UserEntity,
    UserSpec,
    checked,
)
from mesh_store.model.errors import Conflict, NotFound
from mesh_store.postgres.limit_tables import LimitRow
from mesh_store.postgres.people_tables import KeyRow, MemberRow, TeamRow, UserRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.effects import archive_limits, revoke_keys
from mesh_store.postgres.repository.part import Part, check_revision, fresh, now, page_of
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.routing_tables import AliasRow

TEAM = named.Kind("team", TeamRow, TeamSpec, TeamEntity)
USER = named.Kind("user", UserRow, UserSpec, UserEntity)


class Teams(Part):
    """Teams, by name; fields are those of `TeamSpec`."""

    async def create_team(self, **fields: object) -> TeamEntity:
        """Create a team.

        Raises:
            Conflict: the name is taken.
            Rejected: a field breaks a rule.
        """
        async with self._work() as work:
            return named.create(work, TEAM, fields)

    async def get_team(self, name: str) -> TeamEntity:
        """Return a live team, or raise `NotFound`."""
        async with self._reading() as session:
            return named.entity_of(TEAM, await named.row_named(session, TEAM, name))

    async def list_teams(
        self, *, after: str | None = None, limit: int = 100, archived: bool = False
    ) -> Page[TeamEntity]:
        """Return a page of teams by name."""
        async with self._reading() as session:
            return await named.page(session, TEAM, after=after, limit=limit, archived=archived)

    async def update_team(
        self, name: str, /, *, expected_revision: int | None = None, **changes: object
    ) -> TeamEntity:
        """Change a team's fields; ``name=`` renames it."""
        async with self._work() as work:
            return await named.update(work, TEAM, name, expected_revision, changes)

    async def archive_team(self, name: str, *, expected_revision: int | None = None) -> TeamEntity:
        """Take a team out of use: its keys are revoked, its own aliases and limits archived."""
        async with self._work() as work:
            row = await named.row_named(work.session, TEAM, name, lock=True)
            team = await named.archive(work, TEAM, row, expected_revision)
            await revoke_keys(work, KeyRow.team_id == row.id)
            own = select(AliasRow).where(AliasRow.team_id == row.id, AliasRow.archived_at.is_(None))
            for alias in (await work.session.execute(own)).scalars():
                alias.archived_at = now()
            await archive_limits(work, LimitRow.team_id == row.id)
            return team


class Users(Part):
    """Users, by name; fields are those of `UserSpec`."""

    async def create_user(self, **fields: object) -> UserEntity:
        """Create a user.

        Raises:
            Conflict: the name is taken.
            Rejected: a field breaks a rule.
        """
        async with self._work() as work:
            return named.create(work, USER, fields)

    async def get_user(self, name: str) -> UserEntity:
        """Return a live user, or raise `NotFound`."""
        async with self._reading() as session:
            return named.entity_of(USER, await named.row_named(session, USER, name))

    async def list_users(
        self, *, after: str | None = None, limit: int = 100, archived: bool = False
    ) -> Page[UserEntity]:
        """Return a page of users by name."""
        async with self._reading() as session:
            return await named.page(session, USER, after=after, limit=limit, archived=archived)

    async def update_user(
        self, name: str, /, *, expected_revision: int | None = None, **changes: object
    ) -> UserEntity:
        """Change a user's fields; ``name=`` renames it."""
        async with self._work() as work:
            return await named.update(work, USER, name, expected_revision, changes)

    async def archive_user(self, name: str, *, expected_revision: int | None = None) -> UserEntity:
        """Take a user out of use: memberships end, keys are revoked, limits archived."""
        async with self._work() as work:
            row = await named.row_named(work.session, USER, name, lock=True)
            user = await named.archive(work, USER, row, expected_revision)
            live = select(MemberRow).where(MemberRow.user_id == row.id, MemberRow.archived_at.is_(None))
            for member in (await work.session.execute(live)).scalars():
                member.archived_at = now()
            await revoke_keys(work, KeyRow.user_id == row.id)
            await archive_limits(work, LimitRow.user_id == row.id)
            return user


class Members(Part):
    """Who belongs to which team."""

    async def add_member(self, **fields: object) -> MemberEntity:
        """Add a user to a team (`MemberSpec`); one who left comes back.

        Raises:
            Conflict: the user is a member already.
        """
        spec = checked(MemberSpec, "member", fields)
        async with self._work() as work:
            team = await named.referenced(work.session, TEAM, spec.team)
            user = await named.referenced(work.session, USER, spec.user)
            row = await _present_member(work, team.id, user.id)
            if row is None:
                row = MemberRow(team_id=team.id, user_id=user.id, role=spec.role, **fresh())
                work.session.add(row)
            elif row.archived_at is None:
                raise Conflict(f"user {spec.user!r} is a member of team {spec.team!r} already", field="user")
            else:
                row.archived_at, row.role = None, spec.role
                await work.flush()
            member = _member(row, spec.team, spec.user)
            work.record("member.create", entity_id=member.id, name=f"{spec.team} {spec.user}", after=member)
            return member

    async def update_member(
        self, team: str, user: str, *, role: str, expected_revision: int | None = None
    ) -> MemberEntity:
        """Change a member's role."""
        spec = checked(MemberSpec, "member", {"team": team, "user": user, "role": role})
        async with self._work() as work:
            row = await _live_member(work.session, team, user)
            before = _member(row, team, user)
            await check_revision(work.session, row, before.id, expected_revision)
            if row.role == spec.role:
                return before
            row.role = spec.role
            return await _changed(work, "member.update", row, before)

    async def remove_member(
        self, team: str, user: str, *, expected_revision: int | None = None
    ) -> MemberEntity:
        """End a membership; the user's keys of that team are revoked."""
        async with self._work() as work:
            row = await _live_member(work.session, team, user)
            before = _member(row, team, user)
            await check_revision(work.session, row, before.id, expected_revision)
            row.archived_at = now()
            member = await _changed(work, "member.archive", row, before)
            await revoke_keys(work, (KeyRow.team_id == row.team_id) & (KeyRow.user_id == row.user_id))
            return member

    async def list_members(
        self, *, team: str | None = None, user: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[MemberEntity]:
        """Return a page of memberships by team and user."""
        query = (
            select(MemberRow, TeamRow.name, UserRow.name)
            .join(TeamRow, TeamRow.id == MemberRow.team_id)
            .join(UserRow, UserRow.id == MemberRow.user_id)
            .where(MemberRow.archived_at.is_(None), TeamRow.archived_at.is_(None))
        )
        if team is not None:
            query = query.where(TeamRow.name == team)
        if user is not None:
            query = query.where(UserRow.name == user)
        async with self._reading() as session:
            order = (TeamRow.name, UserRow.name, MemberRow.team_id, MemberRow.user_id)
            rows, following = await page_of(session, query, order, after, limit)
            return Page(tuple(_member(row[0], row[1], row[2]) for row in rows), following)


async def _present_member(work: Work, team_id: str, user_id: str) -> MemberRow | None:
    if not work.created.isdisjoint((team_id, user_id)):
        return None  # nobody can be a member of, or with, what was made a moment ago
    return await work.session.get(MemberRow, (team_id, user_id), with_for_update=True)


async def _live_member(session: AsyncSession, team: str, user: str) -> MemberRow:
    team_row = await named.row_named(session, TEAM, team)
    user_row = await named.row_named(session, USER, user)
    row = await session.get(MemberRow, (team_row.id, user_row.id), with_for_update=True)
    if row is None or row.archived_at is not None:
        raise NotFound(f"user {user!r} is not a member of team {team!r}", field="user")
    return row


async def _changed(work: Work, action: str, row: MemberRow, before: MemberEntity) -> MemberEntity:
    await work.flush()
    after = _member(row, before.team, before.user)
    name = f"{before.team} {before.user}"
    work.record(action, entity_id=before.id, name=name, before=before, after=after)
    return after


def _member(row: MemberRow, team: str, user: str) -> MemberEntity:
    return MemberEntity.model_validate(
        {
            "id": f"{row.team_id}/{row.user_id}",
            "team": team,
            "user": user,
            "role": row.role,
            "revision": row.revision,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "archived_at": row.archived_at,
        }
    )
