"""The configuration a caller holds: one immutable value per revision.

A `Snapshot` is a published document with its look-up tables. A call reads the snapshot once, at its
start, and never sees two configurations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mesh_store.model.alias_table import AliasTable
from mesh_store.model.document import (
    FORMAT,
    Alias,
    KeyEntry,
    KeyLimit,
    LimitRule,
    Operation,
    Provider,
    ProviderKind,
    SnapshotDocument,
    Subject,
    Target,
    Team,
    decode,
    encode,
)
from mesh_store.model.errors import ConfigError
from mesh_store.model.key_limits import KeyRules, binds
from mesh_store.model.labels import end_users, tags_of
from mesh_store.model.limits import Dimension
from mesh_store.model.passed_prices import PassedPrices
from mesh_store.model.sealing import SealedSecret
from mesh_store.model.usage import Rates

__all__ = [
    "FORMAT",
    "Alias",
    "Dimension",
    "KeyEntry",
    "KeyLimit",
    "LimitRule",
    "Operation",
    "PassedPrices",
    "Provider",
    "ProviderKind",
    "Snapshot",
    "SnapshotDocument",
    "Subject",
    "Target",
    "Team",
    "decode",
    "encode",
]

_NO_TAGS: Mapping[str, str] = {}


class Snapshot:
    """One revision of the configuration with its look-up tables; never changed after it is made.

    Attributes:
        document: what was published.
        epoch, revision: its place in the order of configurations.
    """

    __slots__ = (
        "_aliases",
        "_key_rules",
        "_limits",
        "_own_providers",
        "_passed",
        "_providers",
        "_sealed",
        "_shapes",
        "_teams",
        "document",
        "epoch",
        "revision",
    )

    def __init__(self, document: SnapshotDocument) -> None:
        self.document = document
        self.epoch = document.epoch
        self.revision = document.revision
        self._teams = {team.id: team for team in document.teams}
        self._providers = {provider.id: provider for provider in document.providers}
        self._own_providers = {
            (provider.team, provider.name): provider
            for provider in document.providers
            if provider.team is not None
        }
        self._aliases = AliasTable(document.aliases, self._providers)
        passed = {prices.id: prices for prices in document.passed}
        self._passed = {
            target.id: prices
            for alias in (document.aliases if passed else ())
            for target in alias.targets
            if (prices := passed.get(f"{target.provider}/{target.model}")) is not None
        }
        self._sealed: dict[str, list[SealedSecret]] = {}
        for sealed in document.sealed:
            self._sealed.setdefault(sealed.id.partition("+")[0], []).append(sealed)
        self._key_rules = KeyRules(document)
        self._limits: dict[Subject, list[LimitRule]] = {}
        for rule in document.limits:
            self._limits.setdefault(rule.subject, []).append(rule)
        # Which combinations of ids occur at all: a call builds only these subjects (a few, not 64).
        self._shapes = sorted({_shape(subject) for subject in self._limits})

    def __repr__(self) -> str:
        return f"Snapshot(epoch={self.epoch!r}, revision={self.revision})"

    def alias(self, name: str, team: str) -> Alias | None:
        """Return the alias a team means by ``name``: its own, else the global one, else what catches it."""
        return self._aliases.find(name, team)

    def alias_names(self, team: str) -> list[str]:
        """Names of the aliases a team may use, sorted; for error messages."""
        return sorted(
            {
                alias.name
                for alias in self.document.aliases
                if alias.team in (None, team) and (alias.grants is None or team in alias.grants)
            }
        )

    def provider(self, provider_id: str) -> Provider:
        """Return a provider.

        Raises:
            ConfigError: when a target names one that is not in the snapshot.
        """
        try:
            return self._providers[provider_id]
        except KeyError:
            raise ConfigError(f"revision {self.revision} names an unknown provider {provider_id!r}") from None

    def targets_of(self, targets: tuple[Target, ...], team_id: str) -> tuple[Target, ...]:
        """Return targets as they are for a team: at its own provider of the name where it has one."""
        if not self._own_providers:
            return targets
        return tuple(self._target_of(target, team_id) for target in targets)

    def sealed(self, provider_id: str, team_id: str) -> Sequence[SealedSecret]:
        """Return a provider's stored secret as sealed for a team, under each data key that opens it."""
        return self._sealed.get(f"{provider_id}/{team_id}", ())

    def team(self, team_id: str) -> Team | None:
        """Return a team, or None when it is unknown or archived."""
        return self._teams.get(team_id)

    def rates(self, target: Target) -> Rates | None:
        """Return the prices of a target's model, or None when it has none."""
        known = self.document.rates.get(target.id)
        if known is not None or not self._passed:
            return known
        prices = self._passed.get(target.id)
        return None if prices is None else prices.of(target.model)

    def _target_of(self, target: Target, team_id: str) -> Target:
        own = self._own_providers.get((team_id, self.provider(target.provider).name))
        return target if own is None else msgspec.structs.replace(target, provider=own.id)

    def limits_of(self, key: KeyEntry) -> tuple[LimitRule, ...]:
        """Return the limits on a key, alone or together with others; they come with its entry."""
        return self._key_rules.of(key)

    def limits_on(
        self, call: Subject, key: KeyEntry, tags: Mapping[str, str] = _NO_TAGS
    ) -> Iterator[LimitRule]:
        """Yield every limit that binds a call; the key's own come last.

        Args:
            call: its ids and its end user.
            key: the caller's key.
            tags: the caller's tags.
        """
        for shape in self._shapes:
            subject = Subject(
                *[getattr(call, name) if used else None for name, used in zip(_FIELDS, shape, strict=False)]
            )
            if not shape[-2] and not shape[-1]:
                yield from self._limits.get(subject, ())
                continue
            for end_user in end_users(call.end_user) if shape[-2] else (None,):
                for tag in tags_of(tags) if shape[-1] else (None,):
                    said = msgspec.structs.replace(subject, end_user=end_user, tag=tag)
                    yield from self._limits.get(said, ())
        for rule in self._key_rules.of(key):
            if binds(rule, call, tags):
                yield rule


#: The fields that hold ids; the two after them are told by what the caller says.
_FIELDS = Subject.__struct_fields__[:-2]


def _shape(subject: Subject) -> tuple[bool, ...]:
    return tuple(getattr(subject, name) is not None for name in Subject.__struct_fields__)
