"""What one process knows of callers' keys: entries it used, misses, and revocations it saw. No I/O.

An answer of Redis counts only when the marker read *with* it is at least as new as any marker seen
before: after a flush or a fail-over to an older state neither a hit nor a miss proves anything, and
what is cached stays. Cached answers stay true because changed digests are applied; an answer that
was on its way while a change was applied is asked for again (the race that lets an old object
overwrite a newer one elsewhere: litellm #25553).

A digest is in one place: ``entries`` (usable), ``suspects`` (changes were missed; usable only while
Redis cannot be asked), ``changed`` (known to have changed, not read again yet: never usable),
``misses`` or ``revoked``. A revocation seen once is kept for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from mesh_store.model.errors import ConfigError
from mesh_store.model.forking import forkable_lock
from mesh_store.model.signing import Place
from mesh_store.model.snapshot import KeyEntry
from mesh_store.redis.config_channel import Answer, Change, parse_place
from mesh_store.sync.disk import KeptKeys
from mesh_store.sync.trust import Trust

_decoder = msgspec.msgpack.Decoder(KeyEntry)


class Held(NamedTuple):
    """An entry, where it stands, and the envelope it came in."""

    entry: KeyEntry
    place: Place
    sealed: bytes


#: Seconds after which a key that was not there is asked for again.
MISSING_S = 2.0


class MovedOn(Exception):
    """The keys changed between asking and hearing."""


class NoProof(Exception):
    """Redis answered, but the answer proves nothing."""


class KeyTable:
    """Decides what is known of a digest; bounded, and never older than what was seen before.

    Args:
        trust: decides whose entries count.
        max_entries: how many entries are kept, and how many misses.
        max_stale_s: how long entries are honoured after Redis last confirmed them.
        clock: seconds that only grow.

    Attributes:
        entries: usable entries; read without the lock on the hot path.
        seen: the newest marker seen.
        applied: up to where changes were applied.
        refused: how many answers were damaged, older than what was seen, or proved nothing.
        version: grows with every change worth keeping on disk.
        kept_until: when entries stop being honoured.
    """

    def __init__(
        self, trust: Trust, *, max_entries: int, max_stale_s: float, clock: Callable[[], float]
    ) -> None:
        self._trust = trust
        self._max_entries = max_entries
        self._max_stale_s = max_stale_s
        self._clock = clock
        self.entries: dict[bytes, Held] = {}
        self._suspects: dict[bytes, Held] = {}
        self._changed: dict[bytes, Held] = {}
        self._misses: dict[bytes, float] = {}
        self._revoked: dict[bytes, None] = {}
        self.seen: Place | None = None
        self.applied: Place | None = None
        self.refused = 0
        self.version = 0
        self.kept_until = float("-inf")
        self.after_fork()

    def after_fork(self) -> None:
        """Start anew in a child: a lock held by a thread that is not here."""
        self._lock = forkable_lock()

    # --- one look-up -------------------------------------------------------------------------------

    def is_revoked(self, digest: bytes) -> bool:
        """Tell whether the key was seen revoked, ever."""
        return digest in self._revoked

    def is_missing(self, digest: bytes) -> bool:
        """Tell whether the key is known not to exist, as of the changes applied.

        Nobody signs that there is nothing: what Redis said wrongly once must not hold for ever.
        """
        return self._clock() < self._misses.get(digest, float("-inf"))

    def vouching_for(self, digest: bytes) -> bytes | None:
        """Return the digest of the own key when its entry must be seen before the one with ``digest``."""
        own = self._trust.wants_voucher
        return None if own == digest else own

    def accept(self, digest: bytes, answer: Answer, seen: Place | None) -> KeyEntry | None:
        """Take in what Redis said of a key and return its entry; None when it has none that is good.

        Args:
            digest: what was asked for.
            answer: what Redis said.
            seen: the newest marker seen when it was asked.

        Raises:
            MovedOn: the keys changed meanwhile; ask again.
            NoProof: the answer is damaged, not genuine, or older than what was seen.
        """
        complete = answer.complete
        if complete is None or (seen is not None and complete < seen):
            raise self._no_proof("Redis lost keys that nobody has published again yet")
        held = None if answer.sealed is None else self._open(digest, answer.sealed)
        with self._lock:
            if self.seen is not None and complete < self.seen:
                raise MovedOn("keys kept changing")
            self.seen = complete
            if digest in self._revoked:
                return None
            if held is None or held.place.epoch < complete.epoch:
                self._forget(digest)
                self._misses[digest] = self._clock() + MISSING_S
                _bound(self._misses, self._max_entries)
                return None
            return self._remember(digest, held)

    def fallback(self, digest: bytes) -> KeyEntry | None:
        """Return what may still be used of a key when Redis cannot say; None when there is nothing."""
        held = self.entries.get(digest) or self._suspects.get(digest)
        return held.entry if held is not None and self._clock() < self.kept_until else None

    # --- the changes -------------------------------------------------------------------------------

    def is_behind(self, complete: Place | None) -> bool:
        """Tell whether Redis, complete up to there, is behind what was seen."""
        return complete is None or (self.seen is not None and complete < self.seen)

    def apply(self, changes: Iterable[Change], complete: Place) -> None:
        """Apply changes up to ``complete``; where they leave a gap, every entry becomes suspect."""
        with self._lock:
            told: set[bytes] = set()
            same_epoch = self.applied is not None and self.applied.epoch == complete.epoch
            covered = self.applied.revision if self.applied is not None and same_epoch else -1
            for change in changes:
                if change.since > covered or change.digests is None:
                    break
                told.update(change.digests)
                covered = max(covered, change.place.revision)
            if covered < complete.revision:
                self._suspects |= self.entries
                self.entries.clear()
                self._misses.clear()
            for digest in told:
                self._misses.pop(digest, None)
                held = self.entries.pop(digest, None) or self._suspects.pop(digest, None)
                if held is not None:
                    self._changed[digest] = held
            self.applied = complete
            self.seen = complete if self.seen is None else max(self.seen, complete)
            self.version += 1

    def changed(self) -> list[bytes]:
        """Return the digests that have to be read again."""
        with self._lock:
            return list(self._changed)

    def confirm(self) -> None:
        """Redis just said that nothing is missing here."""
        self.kept_until = self._clock() + self._max_stale_s

    # --- the disk ----------------------------------------------------------------------------------

    def keep(self) -> KeptKeys:
        """Return what belongs on disk."""
        with self._lock:
            usable = self._suspects | self.entries
            return KeptKeys(
                seen="" if self.seen is None else str(self.seen),
                applied="" if self.applied is None else str(self.applied),
                entries={digest: held.sealed for digest, held in usable.items()},
                revoked=tuple(self._revoked),
                changed=tuple(self._changed),
            )

    def load(self, kept: KeptKeys, age_s: float) -> None:
        """Take in what was on disk, ``age_s`` after Redis last confirmed it."""
        for digest in kept.revoked:
            self._revoked[digest] = None
        for digest, sealed in kept.entries.items():
            try:
                held = self._open(digest, sealed)
            except NoProof:
                continue
            if not held.entry.revoked and digest not in self._revoked:
                self.entries[digest] = held
        self.seen = parse_place(kept.seen.encode())
        self.applied = parse_place(kept.applied.encode())
        self.kept_until = self._clock() + self._max_stale_s - age_s

    # --- private -----------------------------------------------------------------------------------

    def _open(self, digest: bytes, sealed: bytes) -> Held:
        try:
            envelope = self._trust.unseal("key", sealed, name=digest)
            return Held(_decoder.decode(envelope.body), envelope.place, sealed)
        except (ConfigError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._no_proof(str(error)) from error

    def _remember(self, digest: bytes, held: Held) -> KeyEntry | None:
        known = self.entries.get(digest) or self._suspects.get(digest) or self._changed.get(digest)
        if known is not None and held.place < known.place:
            raise self._no_proof(f"its entry is of revision {held.place.revision}, older than one seen")
        self.version += 1
        if held.entry.revoked:
            self._revoked[digest] = None
            self._forget(digest)
            return None
        self._forget(digest)
        self.entries[digest] = held
        _bound(self.entries, self._max_entries)
        return held.entry

    def _forget(self, digest: bytes) -> None:
        self.entries.pop(digest, None)
        self._suspects.pop(digest, None)
        self._changed.pop(digest, None)
        self._misses.pop(digest, None)

    def _no_proof(self, why: str) -> NoProof:
        self.refused += 1
        return NoProof(why)


def _bound(table: dict[bytes, Held] | dict[bytes, float] | dict[bytes, None], size: int) -> None:
    while len(table) > size:
        del table[next(iter(table))]  # the oldest; it costs one question when it is used again
