"""The copy of the configuration one process holds: only forwards, only whole, only genuine.

Whatever arrives is checked before it counts; what fails is refused and counted, and the last good
snapshot stays. The envelopes it was made of are kept for the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Place
from mesh_store.model.snapshot import Snapshot, SnapshotDocument, decode
from mesh_store.redis import config_channel as channel
from mesh_store.sync.delta import apply, decode_delta, place_of
from mesh_store.sync.trust import Trust

if TYPE_CHECKING:
    from redis import Redis

#: After so many deltas the whole document is loaded once more, so that the disk copy stays short.
MAX_DELTAS = 64


class Made(NamedTuple):
    """A snapshot and the envelopes it was made of: a document, and deltas applied to it in order."""

    snapshot: Snapshot
    sealed: bytes
    deltas: tuple[bytes, ...]


class Replica:
    """Holds the newest snapshot that could be verified.

    Args:
        trust: decides whose configuration counts.

    Attributes:
        made: the newest one with its envelopes, or None; replaced in one step.
        refused: how many snapshots and deltas were damaged, older, or not what they claimed.
        last_refusal: what was wrong with the last of them, or "".
        loads: how often a whole document was loaded.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.made: Made | None = None
        self.refused = 0
        self.last_refusal = ""
        self.loads = 0

    @property
    def place(self) -> Place | None:
        """Where the snapshot stands, or None."""
        return None if self.made is None else place_of(self.made.snapshot.document)

    def catch_up(self, redis: Redis, head: Place | None) -> bool:
        """Read what is missing up to ``head``; False when this is not what Redis says is newest."""
        place = self.place
        if place is not None and (head is None or head < place):
            self._refuse(f"Redis went back to {head or 'nothing'}, this process has {place}")
            return False
        if head is None or head == place:
            return head is not None
        if self.made is not None and place is not None and len(self.made.deltas) < MAX_DELTAS:
            self.follow(self.made, [delta.sealed for delta in channel.read_deltas(redis, place)])
        if self.place is None or self.place < head:
            sealed = channel.read_snapshot(redis)
            if sealed is not None:
                self.load(sealed)
        return self.place is not None and self.place >= head

    def load(self, sealed: bytes) -> bool:
        """Take over a whole document if it is genuine and newer than what is held."""
        try:
            envelope = self._trust.unseal("snapshot", sealed)
            if self.place is not None and envelope.place <= self.place:
                raise ConfigError(
                    f"the snapshot in Redis is of {envelope.place}, this process has {self.place}"
                )
            document = decode(envelope.body)
            if place_of(document) != envelope.place:
                raise ConfigError(f"a snapshot of {place_of(document)} was published as {envelope.place}")
            self.made = Made(Snapshot(document), sealed, ())
        except ConfigError as error:
            self._refuse(str(error))
            return False
        self.loads += 1
        return True

    def follow(self, made: Made, deltas: list[bytes]) -> None:
        """Apply sealed deltas as far as they are genuine and continue what is held."""
        before = document = made.snapshot.document
        applied = list(made.deltas)
        for sealed in deltas:
            try:
                after = _after(self._trust, document, sealed)
            except ConfigError as error:
                self._refuse(str(error))
                break
            if after is None:
                break
            document = after
            applied.append(sealed)
        if document is not before:
            self.made = Made(Snapshot(document), made.sealed, tuple(applied))

    def _refuse(self, why: str) -> None:
        self.refused += 1
        self.last_refusal = why


def _after(trust: Trust, document: SnapshotDocument, sealed: bytes) -> SnapshotDocument | None:
    """Return the document a delta leads to; None when it says nothing about this one."""
    if not sealed:
        return None
    envelope = trust.unseal("delta", sealed)
    delta = decode_delta(envelope.body)
    if envelope.epoch != document.epoch or delta.base != document.revision:
        return None
    after = apply(document, delta)
    if place_of(after) != envelope.place:
        raise ConfigError(f"a delta to {place_of(after)} was published as {envelope.place}")
    return after
