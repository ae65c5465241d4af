"""Keys: minted and shown once, found by id, rotated with overlap, revoked for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import KeyEntity, KeySpec, LimitSpec, Page, checked
from mesh_store.model.errors import Conflict, Rejected
from mesh_store.model.keys import MintedKey, mint
from mesh_store.model.limit_text import parse_period_us
from mesh_store.model.sealing import sealing_public
from mesh_store.model.signing import trust_secret
from mesh_store.postgres.people_tables import KeyRow, KeySecretRow, MemberRow
from mesh_store.postgres.repository import named
from mesh_store.postgres.repository.effects import revoke_keys
from mesh_store.postgres.repository.key_values import key_entities, new_key_entity
from mesh_store.postgres.repository.limits import add_limit
from mesh_store.postgres.repository.part import (
    Part,
    as_text,
    changed_spec,
    check_revision,
    found,
    fresh,
    now,
    page_of,
    refuse_changes,
)
from mesh_store.postgres.repository.people import TEAM, USER
from mesh_store.postgres.repository.resolving import check_aliases_exist
from mesh_store.postgres.repository.work import Work

#: A key lives this long when nobody says otherwise.
DEFAULT_LIFETIME: Final = "90d"
#: The old secret of a rotated key goes on working this long.
DEFAULT_OVERLAP: Final = "24h"

#: ``"90d"``, a `timedelta` from now, a moment with time zone, or None for never.
Expires = str | timedelta | datetime | None


class Keys(Part):
    """Callers' keys, by id; fields are those of `KeySpec`."""

    async def create_key(
        self, *, expires: Expires = DEFAULT_LIFETIME, limits: Sequence[str] = (), **fields: object
    ) -> tuple[KeyEntity, MintedKey]:
        """Mint a key for a team, and for one of its members when ``user`` is given.

        Args:
            expires: when it ends; None means never.
            limits: limits of this key alone, as text.
            fields: ``team``, ``user``, ``aliases``, ``description``, ``metadata``.

        Returns:
            the key, and its text, which exists nowhere else from now on.
        """
        spec = checked(KeySpec, "key", {"expires_at": expiry(expires), **fields})
        check_future(spec.expires_at)
        async with self._work() as work:
            team_id, user_id = await owner_ids(work.session, spec.team, spec.user)
            await check_aliases_exist(work.session, team_id, spec.team, spec.aliases)
            minted = mint()
            row = key_row(minted, spec, team_id, user_id)
            work.session.add_all((row, secret_row(minted, row.created_at)))
            work.created.add(row.id)
            entity = new_key_entity(row, spec, minted)
            work.record("key.create", entity_id=row.id, name=row.id, after=entity)
            for text in limits:
                await add_limit(work, checked(LimitSpec, "limit", {"key": row.id, "limit": text}))
            return entity, minted

    async def get_key(self, key_id: str) -> KeyEntity:
        """Return a key, revoked or not, or raise `NotFound`."""
        async with self._reading() as session:
            return (await key_entities(session, [await _row(session, key_id)]))[0]

    async def list_keys(
        self,
        *,
        team: str | None = None,
        user: str | None = None,
        revoked: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[KeyEntity]:
        """Return a page of keys; with ``revoked`` also those."""
        query = select(KeyRow)
        if not revoked:
            query = query.where(KeyRow.revoked_at.is_(None))
        async with self._reading() as session:
            if team is not None:
                query = query.where(KeyRow.team_id == (await named.row_named(session, TEAM, team)).id)
            if user is not None:
                query = query.where(KeyRow.user_id == (await named.row_named(session, USER, user)).id)
            rows, following = await page_of(session, query, (KeyRow.id,), after, limit)
            return Page(tuple(await key_entities(session, [row[0] for row in rows])), following)

    async def update_key(
        self, key_id: str, /, *, expected_revision: int | None = None, **changes: object
    ) -> KeyEntity:
        """Change a live key: ``aliases``, ``expires``, ``description``, ``metadata``."""
        refuse_changes("key", changes, "team", "user")
        if "expires" in changes:
            changes["expires_at"] = expiry(changes.pop("expires"))
        async with self._work() as work:
            row = await _live_row(work, key_id, expected_revision)
            before = await _entity(work, row)
            spec = changed_spec("key", KeySpec, before, changes)
            if spec == changed_spec("key", KeySpec, before, {}):
                return before
            if spec.expires_at != before.expires_at:
                check_future(spec.expires_at)
            if spec.aliases != before.aliases:
                await check_aliases_exist(work.session, row.team_id, spec.team, spec.aliases)
            row.aliases = None if spec.aliases is None else list(spec.aliases)
            row.expires_at, row.description = spec.expires_at, spec.description
            row.attributes = dict(spec.metadata)
            return await _recorded(work, "key.update", row, before)

    async def rotate_key(
        self,
        key_id: str,
        /,
        *,
        overlap: str | timedelta = DEFAULT_OVERLAP,
        expires: Expires = DEFAULT_LIFETIME,
        expected_revision: int | None = None,
    ) -> tuple[KeyEntity, MintedKey]:
        """Give a key a new secret; the present one works for ``overlap`` longer.

        Limits, budgets and usage hang on the id and go on. A key that never expires stays so.

        Args:
            key_id: which key.
            overlap: ``"24h"`` or a `timedelta`; ``"0 s"`` ends the present secret at once.
            expires: when the key now ends, unless it never does.
            expected_revision: refuse when it is not at this revision any more.
        """
        ends = _moment_after(overlap, "overlap")
        async with self._work() as work:
            row = await _live_row(work, key_id, expected_revision)
            before = await _entity(work, row)
            current = select(KeySecretRow).where(
                KeySecretRow.key_id == row.id, KeySecretRow.expires_at.is_(None)
            )
            old_end = min(ends, row.expires_at) if row.expires_at else ends
            for secret in (await work.session.execute(current.with_for_update())).scalars():
                secret.expires_at = old_end
            if row.expires_at is not None:
                row.expires_at = expiry(expires)
                check_future(row.expires_at)
            row.updated_at = now()
            await work.flush()
            minted = mint(row.id)
            work.session.add(secret_row(minted, now()))
            return await _recorded(work, "key.rotate", row, before), minted

    async def revoke_key(self, key_id: str, /, *, expected_revision: int | None = None) -> KeyEntity:
        """Revoke a key for ever, with every secret of it; revoking it again changes nothing."""
        async with self._work() as work:
            row = await _row(work.session, key_id, lock=True)
            await check_revision(work.session, row, row.id, expected_revision)
            if row.revoked_at is not None:
                return await _entity(work, row)
            return (await revoke_keys(work, KeyRow.id == row.id))[0]


def expiry(value: object) -> datetime | None:
    """Return the moment an ``expires`` argument means."""
    if value is None or isinstance(value, datetime):
        return value
    return _moment_after(value, "expires")


def key_row(minted: MintedKey, spec: KeySpec, team_id: str, user_id: str | None) -> KeyRow:
    """Return the row of a new key."""
    return KeyRow(
        id=minted.id,
        team_id=team_id,
        user_id=user_id,
        description=spec.description,
        aliases=None if spec.aliases is None else list(spec.aliases),
        expires_at=spec.expires_at,
        attributes=dict(spec.metadata),
        **fresh(),
    )


def secret_row(minted: MintedKey, created_at: datetime) -> KeySecretRow:
    """Return the row of a new secret: its digest, never its text."""
    return KeySecretRow(
        digest=minted.digest,
        key_id=minted.id,
        trust=trust_secret(minted.text),
        last_four=minted.last_four,
        created_at=created_at,
        sealing_public=sealing_public(minted.text),
    )


async def owner_ids(session: AsyncSession, team: str, user: str | None) -> tuple[str, str | None]:
    """Return the ids of a key's team and user, who must be a member of it."""
    team_id = (await named.referenced(session, TEAM, team)).id
    if user is None:
        return team_id, None
    user_id = (await named.referenced(session, USER, user)).id
    # Held until commit, so that a removal at the same moment finds this key and revokes it.
    member = await session.get(
        MemberRow, (team_id, user_id), with_for_update={"read": True, "key_share": True}
    )
    if member is None or member.archived_at is not None:
        raise Rejected(f"key: user {user!r} is not a member of team {team!r}; add them first", field="user")
    return team_id, user_id


def _moment_after(value: object, field: str) -> datetime:
    if isinstance(value, str):
        try:
            value = timedelta(microseconds=parse_period_us(value))
        except (ValueError, OverflowError) as error:
            raise Rejected(f"key: {field}: {error}", field=field) from None
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise Rejected(f"key: {field}: write a duration such as '90d'", field=field)
    try:
        return now() + value
    except OverflowError:
        raise Rejected(f"key: {field}: that is beyond the calendar", field=field) from None


def check_future(moment: datetime | None) -> None:
    """Refuse an expiry that has passed already."""
    if moment is not None and moment <= datetime.now(UTC):
        raise Rejected("key: expires: it lies in the past; revoke the key instead", field="expires")


async def _row(session: AsyncSession, key_id: str, *, lock: bool = False) -> KeyRow:
    query = select(KeyRow).where(KeyRow.id == as_text("key", key_id))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await found(session, query, f"key {key_id[:16]!r}")


async def _live_row(work: Work, key_id: str, expected_revision: int | None) -> KeyRow:
    row = await _row(work.session, key_id, lock=True)
    await check_revision(work.session, row, row.id, expected_revision)
    if row.revoked_at is not None:
        raise Conflict(f"key {row.id!r} is revoked, and stays so; create a new one")
    return row


async def _entity(work: Work, row: KeyRow) -> KeyEntity:
    return (await key_entities(work.session, [row]))[0]


async def _recorded(work: Work, action: str, row: KeyRow, before: KeyEntity) -> KeyEntity:
    await work.flush()
    after = await _entity(work, row)
    work.record(action, entity_id=row.id, name=row.id, before=before, after=after)
    return after
