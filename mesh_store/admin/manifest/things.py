"""What there should be and what there is, in one form: specs under the keys by which they are the same thing.

A thing is the same thing when its name is; a limit when its subjects, dimension, kind and period are,
so that another amount changes the limit that is there, and its id and what was spent stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from mesh_store.admin.manifest.faults import Path
from mesh_store.model.limit_text import LimitTerms, parse_terms
from mesh_store.model.specs import AliasSpec, LimitSpec, ProviderSpec, Spec

Kind = Literal["user", "team", "member", "provider", "price", "alias", "limit"]
#: In the order in which they can be made.
KINDS: tuple[Kind, ...] = ("user", "team", "member", "provider", "price", "alias", "limit")
SUBJECTS = ("team", "user", "key", "alias", "provider", "target", "end_user", "tag")

Key = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing.

    Attributes:
        kind, key: what makes it this thing.
        spec: all that is said about it.
        path: where it stands in the manifest; () for what the store holds.
        id: the store's id of it, or "".
        owner: of a limit with an alias: whose alias it is, or None for the global one.
        tier: of a stored limit on a target: the tier that target is in.
    """

    kind: Kind
    key: Key
    spec: Spec
    path: Path = ()
    id: str = ""
    owner: str | None = None
    tier: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return name_of(self)

    @property
    def team(self) -> str | None:
        """The team it belongs to, if it belongs to one."""
        if self.kind == "team":
            return str(self.key[0])
        return getattr(self.spec, "team", None)


Things = dict[Kind, dict[Key, Thing]]


def key_of(kind: Kind, spec: Any, owner: str | None = None) -> Key:
    """Return what makes a thing the thing it is.

    Args:
        kind: what it is.
        spec: what is said about it.
        owner: of a limit on a target: whose alias has the target.
    """
    match kind:
        case "member":
            return (spec.team, spec.user)
        case "price":
            return (spec.provider, spec.model)
        case "alias":
            return (spec.team, spec.name)
        case "provider" if spec.team is not None:
            return (spec.name, spec.team)
        case "limit":
            terms = terms_of(spec.limit)
            subjects = tuple(getattr(spec, name) for name in SUBJECTS)
            # Limits on targets follow the target; others follow the alias's name, whoever's it is.
            owner = owner if spec.target is not None else None
            return (*subjects, owner, terms.dimension, terms.kind, terms.period_us)
        case _:
            return (spec.name,)


def name_of(thing: Thing) -> str:
    """Return what people call a thing."""
    match thing.spec:
        case LimitSpec() as limit:
            said = ", ".join(
                f"{name.replace('_', ' ')} {value}"
                for name in SUBJECTS
                if (value := getattr(limit, name)) is not None
            )
            return said or "everyone"
        case AliasSpec(team=team, name=name) | ProviderSpec(team=team, name=name):
            return name if team is None else f"{team}:{name}"
    return ("/" if thing.kind == "price" else " ").join(str(part) for part in thing.key)


def fields_of(spec: Spec) -> dict[str, Any]:
    """Return what is said about a thing, one value a field."""
    return {name: getattr(spec, name) for name in type(spec).model_fields}


def meant_owner(team: str | None, alias: str | None, aliases: Mapping[Key, Thing]) -> str | None:
    """Return whose alias a team means by a name: its own, else the global one (None)."""
    return team if team is not None and (team, alias) in aliases else None


@lru_cache(maxsize=16_384)
def terms_of(text: str) -> LimitTerms:
    """Return what a limit's text says; many teams have the same limits."""
    return parse_terms(text)
