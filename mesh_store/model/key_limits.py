"""Limits on a key, from its entry to rules under one configuration.

How much may come at once depends on the largest call the key can make, and which alias or provider a name
means on what its team has of its own; both are known only beside the aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from mesh_store.model.context_windows import ContextWindows
from mesh_store.model.document import KeyEntry, KeyLimit, LimitRule, SnapshotDocument, Subject
from mesh_store.model.labels import end_users, tags_of

#: Keys whose rules are remembered; a process that serves more works them out again.
_MOST_KEYS = 4_096
_IDS = [name for name in Subject.__struct_fields__ if name not in ("end_user", "tag")]


class KeyRules:
    """The rules of keys under one configuration, worked out once for each entry.

    Its tables are made on first use: most keys have no limit of their own.
    """

    __slots__ = ("_document", "_known", "_tables")

    def __init__(self, document: SnapshotDocument) -> None:
        self._document = document
        self._known: dict[tuple[str, int], tuple[LimitRule, ...]] = {}
        self._tables: _Tables | None = None

    def of(self, entry: KeyEntry) -> tuple[LimitRule, ...]:
        """Return the rules of a key; none for most."""
        if not entry.limits:
            return ()
        known = self._known.get((entry.id, entry.revision))
        if known is None:
            self._tables = tables = self._tables or _Tables(self._document)
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            known = tuple(tables.rule(limit, entry.team) for limit in entry.limits)
            self._known[entry.id, entry.revision] = known
        return known


class _Tables:
    """What a key's limits are read against."""

    def __init__(self, document: SnapshotDocument) -> None:
        self._windows = ContextWindows(document.aliases)
        self._aliases = _stand_ins((each.id, each.name, each.team) for each in document.aliases)
        self._providers = _stand_ins((each.id, each.name, each.team) for each in document.providers)

    def rule(self, limit: KeyLimit, team: str) -> LimitRule:
        """Return a limit as what its names mean to a team."""
        subject, terms = limit.subject, limit.terms
        if subject.alias is not None and subject.target is None:
            subject = replace(subject, alias=self._aliases.get((team, subject.alias), subject.alias))
        if subject.provider is not None:
            subject = replace(
                subject, provider=self._providers.get((team, subject.provider), subject.provider)
            )
        return LimitRule(
            id=limit.id,
            subject=subject,
            dimension=terms.dimension,
            limit=terms.limit(self._windows.largest(team, subject.alias)),
            text=terms.text,
            label=limit.label,
            enforce=limit.enforce,
            on_exhausted=limit.on_exhausted,
            distinct=limit.distinct,
        )


def binds(rule: LimitRule, call: Subject, tags: Mapping[str, str]) -> bool:
    """Tell whether a rule binds a call with these ids, this end user and these tags."""
    subject = rule.subject
    if subject.end_user is not None and subject.end_user not in end_users(call.end_user):
        return False
    if subject.tag is not None and subject.tag not in tags_of(tags):
        return False
    return all((wanted := getattr(subject, name)) is None or wanted == getattr(call, name) for name in _IDS)


def _stand_ins(things: Iterable[tuple[str, str, str | None]]) -> dict[tuple[str, str], str]:
    """Return, by team and global id, the id of what the team has of its own in its place."""
    listed = list(things)
    everybodys = {name: each for each, name, team in listed if team is None}
    return {
        (team, everybodys[name]): each
        for each, name, team in listed
        if team is not None and name in everybodys
    }
