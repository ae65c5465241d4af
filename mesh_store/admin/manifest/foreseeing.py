"""What callers would hold after a plan: its changes are made, compiled and undone again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh_store.model.snapshot import KeyEntry, SnapshotDocument
from mesh_store.postgres.compile import compile_unsealed
from mesh_store.postgres.key_limits import key_limits
from mesh_store.postgres.repository import Repository


@dataclass(frozen=True, slots=True)
class Foreseen:
    """The configuration as callers get it once a plan is made true.

    Attributes:
        document: everything but keys and secrets; its revision is the one before.
        keys: those the manifest has limits on, without their secrets.
    """

    document: SnapshotDocument
    keys: tuple[KeyEntry, ...]


async def foresee(batch: Repository, keys: Iterable[str]) -> Foreseen:
    """Return what callers would hold if a batch were committed as it is.

    Args:
        batch: in which the changes were made.
        keys: ids of the live keys to look at.
    """
    entities = [await batch.get_key(key) for key in sorted(set(keys))]
    teams = {name: (await batch.get_team(name)).id for name in {each.team for each in entities}}
    async with batch.raw() as connection:
        document = await compile_unsealed(connection)
        limits = await key_limits(connection, {each.id for each in entities})
    entries = [
        KeyEntry(
            id=each.id,
            team=teams[each.team],
            user=None if each.user is None else (await batch.get_user(each.user)).id,
            aliases=each.aliases,
            limits=tuple(limits[each.id]),
        )
        for each in entities
    ]
    return Foreseen(document, tuple(entries))
