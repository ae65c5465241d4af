"""What an operator reads: a *spec*, see `mesh_store.model.specs`, as it is stored.

An *entity* has its id, its times and its own revision, which counts its changes and is what
``expected_revision`` is compared to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, Field

from mesh_store.model.specs import (
    STRICT,
    AliasSpec,
    KeySpec,
    LimitSpec,
    MemberSpec,
    PriceSpec,
    ProviderSpec,
    Spec,
    TargetSpec,
    TeamSpec,
    UserSpec,
    checked,
)

__all__ = [
    "AliasEntity",
    "AliasSpec",
    "AuditEntry",
    "KeyEntity",
    "KeySpec",
    "LimitEntity",
    "LimitSpec",
    "MemberEntity",
    "MemberSpec",
    "Page",
    "PriceEntity",
    "PriceSpec",
    "ProviderEntity",
    "ProviderSpec",
    "SecretEntity",
    "Spec",
    "Stored",
    "StoredSecret",
    "TargetEntity",
    "TargetSpec",
    "TeamEntity",
    "TeamSpec",
    "UserEntity",
    "UserSpec",
    "checked",
]

_Item = TypeVar("_Item")


class Stored(BaseModel):
    """What the store adds.

    Attributes:
        id: opaque, for ever.
        revision: how often it was written; give it as ``expected_revision`` to change what you saw.
        archived_at: since when it is out of use, or None.
    """

    model_config = STRICT

    id: str
    revision: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None


class TeamEntity(TeamSpec, Stored):
    pass


class UserEntity(UserSpec, Stored):
    pass


class MemberEntity(MemberSpec, Stored):
    """A membership; its id is ``<team id>/<user id>``."""


class SecretEntity(BaseModel):
    """One secret of a key, of which only this is ever shown again."""

    model_config = STRICT

    last_four: str
    created_at: datetime
    expires_at: datetime | None = None


class KeyEntity(KeySpec, Stored):
    """A key; ``secrets`` are the good ones, newest first, more than one only while a rotation overlaps."""

    secrets: tuple[SecretEntity, ...] = ()
    revoked_at: datetime | None = None

    @property
    def last_four(self) -> str:
        """The end of the newest secret, by which people recognise it."""
        return self.secrets[0].last_four if self.secrets else ""


class ProviderEntity(ProviderSpec, Stored):
    pass


class StoredSecret(BaseModel):
    """What may be known of a provider's stored secret.

    Attributes:
        labels: names of its values.
        version: how often it was set.
        master: which MESH_SECRET_KEY it is sealed under, by an id that reveals nothing of it.
    """

    model_config = STRICT

    provider: str
    team: str | None = None
    labels: tuple[str, ...]
    version: int
    set_at: datetime
    master: str


class TargetEntity(TargetSpec):
    id: str


class AliasEntity(AliasSpec, Stored):
    targets: Annotated[tuple[TargetEntity, ...], Field(strict=False)] = ()


class PriceEntity(PriceSpec, Stored):
    pass


class LimitEntity(LimitSpec, Stored):
    """A limit; ``label`` is its subject as people call it."""

    label: str


class AuditEntry(BaseModel):
    """One line of the audit log; ``before`` and ``after`` are entities without anything secret."""

    model_config = STRICT

    id: str
    at: datetime
    actor: str
    action: str
    kind: str
    entity_id: str
    entity_name: str
    revision: int
    keys_revision: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """Part of a listing.

    Attributes:
        items: what is on this page.
        next: give it as ``after`` to have the following page; None on the last one.
    """

    items: tuple[_Item, ...]
    next: str | None = None

    def __iter__(self) -> Iterator[_Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
