"""Data keys of keys that are confined to some aliases: one for each set of providers these lead to.

Such a key never holds its team's data key, so its holder opens the secrets its aliases lead to and no
other. Keys of a team that lead to the same providers share one data key. Whoever leaves such a set for
one that lacks a provider of it, or a team's keys for such a set, makes what it held stale for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh_store.model.ids import new_id
from mesh_store.model.sealing import DataKey, Master
from mesh_store.postgres.reach import Reach, Scope
from mesh_store.postgres.repository.work import Work
from mesh_store.postgres.sealing import retire
from mesh_store.postgres.statements import statements


class Confined:
    """Confined keys that have to be looked at, and what they should hold.

    Attributes:
        stale: data keys that somebody holds who should not, of any kind.
        reach: stands for which alias led to which stored secret.
    """

    def __init__(self, held: Sequence[Any], stale: set[str]) -> None:
        self.stale = set(stale)
        self.reach: str | None = None
        self._rows = {row["id"]: row for row in held}
        self._wanted: dict[bytes, tuple[str, Scope, str | None]] = {}

    @classmethod
    async def read(
        cls, raw: Any, held: Sequence[Any], stale: set[str], since: int, reach: str | None
    ) -> Confined:
        """Look at what changed since a keys revision, or at all when aliases lead elsewhere now.

        Args:
            raw: asyncpg's connection.
            held: present data keys, rows of ``held``.
            stale: those known to be stale.
            since: a keys revision; -1 for all.
            reach: what stood for the reach of aliases at the last look.
        """
        found = cls(held, stale)
        if not await raw.fetchval(statements("sealing")["any_confined"]):
            return found
        now = await Reach.read(raw)
        found.reach = now.name
        after, looked = -1 if now.name != reach else since, set[str]()
        while True:
            # Who holds a stale data key needs another one, and may make what it leaves stale, too.
            asked = found.stale - looked
            for row in await raw.fetch(statements("sealing")["confined"], after, list(asked)):
                found._look(row, now.of(row["team_id"], row["aliases"]))
            looked |= asked
            after = 2**62  # everything that changed is known by now
            if found.stale <= looked:
                return found

    def _look(self, row: Any, scope: Scope) -> None:
        self._wanted[bytes(row["digest"])] = (row["team_id"], scope, row["data_key_id"])
        present = self._rows.get(row["data_key_id"])
        if present is not None and set(present["covers"]) - set(scope):
            self.stale.add(present["id"])

    async def hand_out(self, current: Work, raw: Any, master: Master) -> None:
        """Retire stale data keys of scopes, make those that are needed, and hand them to their keys."""
        scoped = [row for row in self._rows.values() if row["scope"] is not None]
        await retire(raw, [row["id"] for row in scoped if row["id"] in self.stale])
        usable = {
            (row["team_id"], tuple(row["scope"])): row["id"] for row in scoped if row["id"] not in self.stale
        }
        given: list[tuple[bytes, str | None]] = []
        for digest, (team, scope, has) in self._wanted.items():
            if scope and (team, scope) not in usable:
                usable[team, scope] = await _made(current, raw, master, team, scope)
            takes = usable[team, scope] if scope else None
            if takes != has:
                given.append((digest, takes))
        if given:
            digests, data_keys = zip(*given, strict=True)
            await raw.execute(statements("sealing")["hand_scoped"], list(digests), list(data_keys))


async def _made(current: Work, raw: Any, master: Master, team: str, scope: Scope) -> str:
    key, providers = DataKey.generate(new_id(), team), list(scope)
    sql = statements("sealing")["add"]
    await raw.execute(sql, key.id, team, key.keep(master), master.id, providers, providers)
    current.record("data_key.create", entity_id=team, name=f"of {len(scope)} providers")
    return key.id
