"""Facts that name a key that is not their team's: callers can write what they like, so it shows."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg
import msgspec

from mesh_store.model.facts import Fact
from mesh_store.postgres.usage_write import teams_of_keys

#: Keys whose team is remembered; a key never changes its team.
REMEMBERED = 100_000


class KeyTeams:
    """Knows the teams of the keys that facts were seen with."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._teams: dict[str, str] = {}

    async def flagged(self, facts: Iterable[Fact]) -> list[Fact]:
        """Return the facts, flagged ``foreign_key`` or ``unknown_key`` where the key says so."""
        facts = list(facts)
        if len(self._teams) > REMEMBERED:
            self._teams.clear()
        # An unknown key is asked for again: it may have been restored, and such facts are few.
        ask = {fact.key_id for fact in facts if fact.key_id not in self._teams and "\0" not in fact.key_id}
        if ask:
            self._teams |= await teams_of_keys(self._connection, sorted(ask))
        return [self._flag(fact) for fact in facts]

    def _flag(self, fact: Fact) -> Fact:
        team = self._teams.get(fact.key_id)
        if team == fact.team_id:
            return fact
        flag = "unknown_key" if team is None else "foreign_key"
        return fact if flag in fact.flags else msgspec.structs.replace(fact, flags=(*fact.flags, flag))
