"""Many keys at once: every row is checked first, then they are minted a few hundred to a transaction."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from mesh_store.model.entities import KeyEntity, KeySpec, checked
from mesh_store.model.errors import Rejected
from mesh_store.model.keys import MintedKey, mint
from mesh_store.postgres.people_tables import KeyRow, KeySecretRow, MemberRow, TeamRow, UserRow
from mesh_store.postgres.repository.key_values import new_key_entity
from mesh_store.postgres.repository.keys import DEFAULT_LIFETIME, check_future, expiry, key_row, secret_row
from mesh_store.postgres.repository.part import Part
from mesh_store.postgres.repository.resolving import check_aliases_exist
from mesh_store.postgres.repository.work import Work

#: Keys per transaction: large enough to be fast, small enough that the order of changes is never
#: held for long.
CHUNK = 500


#: Columns that are written, and the attributes they come from.
_KEY = {
    name: "attributes" if name == "metadata" else name
    for name in (
        "id", "team_id", "user_id", "description", "aliases", "expires_at", "metadata", "created_at",
        "updated_at", "revision",
    )
}  # fmt: skip
_SECRET = {name: name for name in ("digest", "key_id", "trust", "last_four", "created_at", "sealing_public")}


class KeyImport(Part):
    """Bulk loads of keys."""

    async def import_keys(
        self, rows: Iterable[Mapping[str, object]], *, progress: Callable[[int], None] | None = None
    ) -> AsyncIterator[tuple[KeyEntity, MintedKey]]:
        """Mint a key for each row, in order; rows have the fields of `create_key` but ``limits``.

        Nothing is minted unless every row is good. Each chunk of `CHUNK` keys is committed before its
        keys are yielded, so whoever stops in between has been given every key that exists.

        Args:
            rows: one mapping per key.
            progress: told how many keys there are after each chunk.

        Raises:
            Rejected: names the row, counted from 1, and the field.
        """
        specs = [_spec(number, row) for number, row in enumerate(rows, start=1)]
        async with self._reading() as session:
            owners = await _owners(session, specs)
        for start in range(0, len(specs), CHUNK):
            minted = await self._import(specs[start : start + CHUNK], owners)
            if progress is not None:
                progress(start + len(minted))
            for pair in minted:
                yield pair

    async def _import(
        self, specs: Sequence[KeySpec], owners: Mapping[tuple[str, str | None], tuple[str, str | None]]
    ) -> list[tuple[KeyEntity, MintedKey]]:
        async with self._work() as work:
            minted = [mint() for _ in specs]
            rows = [
                key_row(new, spec, *owners[spec.team, spec.user])
                for new, spec in zip(minted, specs, strict=True)
            ]
            await _copy(
                work, rows, [secret_row(new, row.created_at) for new, row in zip(minted, rows, strict=True)]
            )
            entities = [
                new_key_entity(row, spec, new) for row, spec, new in zip(rows, specs, minted, strict=True)
            ]
            for entity in entities:
                work.record("key.create", entity_id=entity.id, name=entity.id, after=entity)
        return list(zip(entities, minted, strict=True))


async def _copy(work: Work, keys: Sequence[KeyRow], secrets: Sequence[KeySecretRow]) -> None:
    """Write rows with COPY, in the transaction of this work; its triggers hear of them as of any others."""
    connection = await work.session.connection()
    await connection.exec_driver_sql("SELECT 1")
    raw: Any = (await connection.get_raw_connection()).driver_connection
    for table, columns, rows in (("keys", _KEY, keys), ("key_secrets", _SECRET, secrets)):
        records = [[_plain(getattr(row, name)) for name in columns.values()] for row in rows]
        await raw.copy_records_to_table(table, records=records, columns=list(columns))


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict) else value


def _spec(number: int, row: Mapping[str, object]) -> KeySpec:
    fields = dict(row)
    try:
        expires = expiry(fields.pop("expires", DEFAULT_LIFETIME))
        spec = checked(KeySpec, "key", {"expires_at": expires, **fields})
        check_future(spec.expires_at)
    except Rejected as error:
        raise Rejected(f"row {number}: {error}", field=error.field) from None
    return spec


async def _owners(
    session: AsyncSession, specs: Sequence[KeySpec]
) -> dict[tuple[str, str | None], tuple[str, str | None]]:
    """Return the ids of every team and member named, having checked that they exist."""
    teams = await _ids(session, TeamRow, {spec.team for spec in specs})
    users = await _ids(session, UserRow, {spec.user for spec in specs if spec.user is not None})
    pairs = {
        (teams[spec.team], users[spec.user])
        for spec in specs
        if spec.user is not None and spec.team in teams and spec.user in users
    }
    members = await _members(session, pairs)
    usable: set[tuple[str, tuple[str, ...] | None]] = set()
    owners: dict[tuple[str, str | None], tuple[str, str | None]] = {}
    for number, spec in enumerate(specs, start=1):
        if spec.team not in teams:
            raise Rejected(f"row {number}: key: there is no team {spec.team!r}", field="team")
        team_id, user_id = teams[spec.team], users.get(spec.user) if spec.user else None
        if spec.user is not None and (team_id, user_id) not in members:
            raise Rejected(
                f"row {number}: key: user {spec.user!r} is not a member of team {spec.team!r}", field="user"
            )
        if (team_id, spec.aliases) not in usable:
            await check_aliases_exist(session, team_id, spec.team, spec.aliases)
            usable.add((team_id, spec.aliases))
        owners[spec.team, spec.user] = (team_id, user_id)
    return owners


async def _ids(session: AsyncSession, table: type[TeamRow | UserRow], names: set[str]) -> dict[str, str]:
    query = select(table.name, table.id).where(table.name.in_(names), table.archived_at.is_(None))
    return {row.name: row.id for row in (await session.execute(query)).all()}


async def _members(session: AsyncSession, pairs: set[tuple[str, str]]) -> set[tuple[str, str | None]]:
    query = select(MemberRow.team_id, MemberRow.user_id).where(
        tuple_(MemberRow.team_id, MemberRow.user_id).in_(pairs), MemberRow.archived_at.is_(None)
    )
    return {(row.team_id, row.user_id) for row in (await session.execute(query)).all()}
