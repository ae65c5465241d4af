"""Where configuration comes from: three questions the publisher asks of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from mesh_store.model.sealing import Master
from mesh_store.model.signing import Handover
from mesh_store.model.snapshot import KeyEntry, SnapshotDocument


class Head(Protocol):
    """Both revisions of the database at one moment."""

    @property
    def epoch(self) -> str:
        """UUIDv7; changes only when the database was restored."""

    @property
    def revision(self) -> int:
        """Of everything but keys."""

    @property
    def keys_revision(self) -> int:
        """Of the keys."""


class KeysDelta(Protocol):
    """Keys that changed, and the keys revision up to which these are all that did."""

    @property
    def revision(self) -> int:
        """Complete up to here."""

    @property
    def entries(self) -> Sequence[tuple[bytes, KeyEntry]]:
        """Digest and entry, each key once."""


class ConfigSource(Protocol):
    """The truth, as far as a publisher needs it."""

    async def head(self) -> Head:
        """Return both revisions; one cheap query."""

    async def compile_snapshot(self) -> SnapshotDocument:
        """Return everything but keys, read in one transaction."""

    async def keys_since(self, keys_revision: int, limit: int) -> KeysDelta:
        """Return keys that changed after ``keys_revision``, about ``limit`` of them, oldest first."""


@runtime_checkable
class VouchingSource(Protocol):
    """A source that also keeps what lets a key's entry vouch for the publisher."""

    async def trust_secrets(self, digests: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return `mesh_store.model.signing.trust_secret` of each key, as kept when it was minted."""


@runtime_checkable
class HandingSource(Protocol):
    """A source that remembers which publisher's key followed which."""

    async def handovers(self) -> Sequence[Handover]:
        """Return them oldest first."""


@runtime_checkable
class SealingSource(Protocol):
    """A source that stores providers' secrets, which only a publisher with the master can publish."""

    async def prepare(self, master: Master | None) -> None:
        """Bring data keys up to date and remember what opens what is stored; before each publish."""
