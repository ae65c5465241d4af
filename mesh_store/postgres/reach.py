"""Which stored secrets a key leads to that is confined to some aliases."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from mesh_store.model.alias_table import AliasTable
from mesh_store.model.patterns import is_pattern, prefix_of
from mesh_store.model.snapshot import Alias, Provider, Target
from mesh_store.postgres.statements import statements

#: Providers, sorted: what a data key of a scope is for.
Scope = tuple[str, ...]


class Reach:
    """The way from names to stored secrets, as callers' own snapshots will have it.

    Attributes:
        name: equal for equal ways.
    """

    def __init__(self, aliases: Sequence[Any], targets: Sequence[Any], providers: Sequence[Any]) -> None:
        leads: dict[str, list[str]] = defaultdict(list)
        for row in targets:
            leads[row["alias_id"]].append(row["provider_id"])
        self._names: dict[str, str] = {row["id"]: row["name"] for row in providers}
        self._own: dict[tuple[str, str], str] = {
            (row["team_id"], row["name"]): row["id"] for row in providers if row["team_id"]
        }
        self._stored = {row["id"] for row in providers if row["is_stored"]}
        made = [
            Alias(
                id=row["id"],
                name=row["name"],
                team=row["team_id"],
                grants=None if row["grants"] is None else tuple(row["grants"]),
                targets=tuple(Target(id=each, provider=each, model="-") for each in leads[row["id"]]),
            )
            for row in aliases
        ]
        kinds = {row["id"]: Provider(id=row["id"], name=row["name"], kind=row["kind"]) for row in providers}
        self._table = AliasTable(made, kinds)
        self._known: dict[tuple[str, Scope], Scope] = {}
        said = [made, sorted(self._own.items()), sorted(self._stored)]
        self.name = hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()

    @classmethod
    async def read(cls, connection: Any) -> Reach:
        """Read it from the database, in the transaction of ``connection``, which is asyncpg's own."""
        sql = statements("sealing")
        return cls(
            await connection.fetch(sql["reach_aliases"]),
            await connection.fetch(sql["reach_targets"]),
            await connection.fetch(sql["reach_providers"]),
        )

    def of(self, team: str, names: Sequence[str]) -> Scope:
        """Return the providers with a stored secret that a key of a team leads to by these names."""
        asked = (team, tuple(names))
        if asked not in self._known:
            self._known[asked] = tuple(sorted(self._providers(team, names)))
        return self._known[asked]

    def _providers(self, team: str, names: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for name in names:
            if is_pattern(name):
                aliases = list(self._table.under(prefix_of(name), team))
            else:
                alias = self._table.find(name, team)
                aliases = [] if alias is None else [alias]
            for alias in aliases:
                if alias.grants is None or team in alias.grants:
                    found |= {self._account(target.provider, team) for target in alias.targets}
        return found & self._stored

    def _account(self, provider: str, team: str) -> str:
        return self._own.get((team, self._names[provider]), provider)
