"""Which alias a name means: looked up in a microsecond, whatever the number of aliases and patterns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh_store.model.patterns import WILD, check_vendor, is_pattern, may_pass, passed_on, prefix_of, prefixes

if TYPE_CHECKING:
    from mesh_store.model.document import Alias, Provider

#: Names caught by patterns that are remembered; callers choose them, so they are bounded.
_MOST_CAUGHT = 1_024


class AliasTable:
    """The aliases of one configuration by team and name; a pattern where no name fits.

    Args:
        aliases: all of them, team None for the global ones.
        providers: by id; their kind decides what a pattern may pass on.
    """

    __slots__ = ("_caught", "_named", "_patterns", "_providers")

    def __init__(self, aliases: Iterable[Alias], providers: Mapping[str, Provider]) -> None:
        self._named: dict[tuple[str | None, str], Alias] = {}
        self._patterns: dict[tuple[str | None, str], Alias] = {}
        self._caught: dict[tuple[str, str], Alias] = {}
        self._providers = providers
        for alias in aliases:
            if is_pattern(alias.name):
                self._patterns[alias.team, prefix_of(alias.name)] = alias
            else:
                self._named[alias.team, alias.name] = alias

    def find(self, name: str, team: str) -> Alias | None:
        """Return the alias a team means by a name: its own, the global one, else what catches it.

        The targets of a pattern say what they are asked for this name.
        """
        found = self._named.get((team, name)) or self._named.get((None, name))
        if found is not None or not self._patterns:
            return found
        return self._caught.get((team, name)) or self._catch(name, team)

    def under(self, prefix: str, team: str) -> Iterator[Alias]:
        """Yield every alias that a team may mean by a name under ``prefix``, which ends in a slash."""
        for table in (self._named, self._patterns):
            for owner, name in table:
                is_meant = owner == team or (owner is None and (team, name) not in table)
                if is_meant and name.startswith(prefix):
                    yield table[owner, name]
        if (team, prefix) in self._patterns or (None, prefix) in self._patterns:
            return
        end = prefix.rfind("/", 0, -1)
        while end > 0:
            start = prefix[: end + 1]
            pattern = self._patterns.get((team, start)) or self._patterns.get((None, start))
            if pattern is not None:
                yield pattern
                return
            end = prefix.rfind("/", 0, end)

    def _catch(self, name: str, team: str) -> Alias | None:
        for prefix, rest in prefixes(name):
            pattern = self._patterns.get((team, prefix)) or self._patterns.get((None, prefix))
            if pattern is not None:
                caught = self._passed(pattern, rest)
                if caught is not None:
                    self._remember((team, name), caught)
                return caught
        return None

    def _passed(self, pattern: Alias, rest: str) -> Alias | None:
        """Return a pattern for one name; None when none of its targets may be asked for that."""
        targets = []
        for target in pattern.targets:
            if target.model.endswith(WILD):
                provider = self._providers[target.provider]
                check_vendor(provider.kind, provider.name, target.model)
                if not may_pass(provider.kind, target.model, rest):
                    continue
                target = replace(target, model=passed_on(target.model, rest))  # noqa: PLW2901
            targets.append(target)
        if pattern.targets and not targets:
            return None
        return replace(pattern, targets=tuple(targets))

    def _remember(self, asked: tuple[str, str], alias: Alias) -> None:
        if len(self._caught) >= _MOST_CAUGHT:
            self._caught.clear()
        self._caught[asked] = alias
