"""The largest call a limit's subject can make: what its burst must have room for.

A target whose context window nobody told may take any call, so its limits burst whole: refusing every
ordinary call of an unlisted model as "can never fit" would be worse than a burst of one period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from mesh_store.model.document import Alias
from mesh_store.model.limits import MAX_EXACT


class ContextWindows:
    """Context windows of the targets each team may reach; 0 where there are no targets."""

    def __init__(self, aliases: Iterable[Alias]) -> None:
        self._by_alias: dict[str, int] = {}
        self._by_team: dict[str, int] = defaultdict(int)
        self._for_everyone = self._largest = 0
        for alias in aliases:
            window = max((target.context_window or MAX_EXACT for target in alias.targets), default=0)
            self._by_alias[alias.id] = window
            self._largest = max(self._largest, window)
            teams = alias.grants if alias.team is None else (alias.team,)
            if teams is None:
                self._for_everyone = max(self._for_everyone, window)
            for team in teams or ():
                self._by_team[team] = max(self._by_team[team], window)

    def largest(self, team: str | None, alias: str | None) -> int:
        """Return the largest context window of one alias, of all a team may use, or of all there are."""
        if alias is not None:
            return self._by_alias.get(alias, 0)
        if team is not None:
            return max(self._for_everyone, self._by_team.get(team, 0))
        return self._largest
