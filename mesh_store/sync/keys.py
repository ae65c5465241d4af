"""What this process knows of its callers' keys: entries it used, misses, and revocations it saw.

An answer of Redis counts only when the marker read *with* it is at least as new as any marker seen
before: after a flush or a fail-over to an older state neither a hit nor a miss proves anything, and
what is cached stays. Cached answers stay true because the subscriber applies the list of changed
digests; an answer that was on its way while a change was applied is asked for again (the race that
lets an old object overwrite a newer one elsewhere: litellm #25553).

A digest is always in one place: ``entries`` (usable), ``suspects`` (the list of changes was missed;
usable only if Redis cannot be asked), ``changed`` (known to have changed, not read again yet: never
usable), ``misses`` or ``revoked``. A revocation seen once is kept for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mesh_store.model.errors import ConfigError, ConfigUnavailable
from mesh_store.model.signing import Place, unseal
from mesh_store.model.snapshot import KeyEntry
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect
from mesh_store.redis.failures import FAILURES
from mesh_store.sync.clock import seconds
from mesh_store.sync.disk import KeptKeys
from mesh_store.sync.loops import ClientPerLoop

if TYPE_CHECKING:
    from redis import Redis

#: Seconds a first look-up may wait for Redis; later ones do not ask.
LOOKUP_DEADLINE = 0.5
#: How often one look-up asks: a dropped connection is tried anew, a change in between read again.
ATTEMPTS = 4
#: Seconds without a word from the subscriber after which a cached answer is asked for again.
FOLLOWED_S = 10.0

_decoder = msgspec.msgpack.Decoder(KeyEntry)


class _Held(NamedTuple):
    entry: KeyEntry
    place: Place
    sealed: bytes


class _Again(Exception):
    """The keys moved on between asking and hearing."""


class _NoProof(Exception):
    """Redis answered, but the answer proves nothing."""


class KeyCache:
    """Finds entries by digest: cached, bounded, and never older than what was seen before.

    Args:
        redis_url: where entries are asked for.
        max_entries: how many entries are kept, and how many misses.
        max_stale_s: how long entries are honoured after Redis was last heard.
        ensure_followed: called when a look-up finds nobody following the changes.
        clock: seconds that only grow.

    Attributes:
        refused: how many answers were damaged, older than what was seen, or proved nothing.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        max_entries: int = 10_000,
        max_stale_s: float = 86_400.0,
        ensure_followed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = seconds,
    ) -> None:
        self._url = redis_url
        self._max_entries = max_entries
        self._max_stale_s = max_stale_s
        self._ensure_followed = ensure_followed
        self._clock = clock
        self._entries: dict[bytes, _Held] = {}
        self._suspects: dict[bytes, _Held] = {}
        self._changed: dict[bytes, _Held] = {}
        self._misses: dict[bytes, None] = {}
        self._revoked: dict[bytes, _Held] = {}
        self._seen: Place | None = None
        self._applied: Place | None = None
        self._followed_until = self._kept_until = float("-inf")
        self.refused = 0
        self.version = 0
        self.after_fork()

    def after_fork(self) -> None:
        """Start anew in a child: no connection, no lock held by a thread that is not here."""
        self._lock = threading.RLock()
        self._redis = connect(self._url, deadline=LOOKUP_DEADLINE)
        self._loops = ClientPerLoop(self._url, deadline=LOOKUP_DEADLINE)
        self._followed_until = float("-inf")

    def close(self) -> None:
        """Drop the connections; a later look-up makes new ones."""
        self._redis.close()

    @property
    def place(self) -> Place | None:
        """Up to where changes were applied, or None."""
        return self._applied

    # --- look-ups, both colours --------------------------------------------------------------------

    def lookup(self, digest: bytes) -> KeyEntry | None:
        """Return the entry of the key with ``digest``; None when it is unknown or revoked.

        Expiry is the caller's to check, with the clock of the call.

        Raises:
            ConfigUnavailable: when nobody can say.
        """
        held = self._entries.get(digest)
        if held is not None and self._clock() < self._followed_until:
            return held.entry
        if self._is_refused(digest):
            return None
        reason: object = "it kept changing"
        for _ in range(ATTEMPTS):
            seen = self._seen
            try:
                return self._accept(digest, channel.read_key(self._redis, digest), seen)
            except (_Again, *FAILURES) as error:
                reason = error
            except _NoProof as error:
                reason = error
                break
        return self._unanswered(digest, reason)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        """Like `lookup`, in an event loop."""
        held = self._entries.get(digest)
        if held is not None and self._clock() < self._followed_until:
            return held.entry
        if self._is_refused(digest):
            return None
        reason: object = "it kept changing"
        for _ in range(ATTEMPTS):
            seen = self._seen
            try:
                redis = await self._loops.client()
                return self._accept(digest, await channel.aread_key(redis, digest), seen)
            except (_Again, *FAILURES) as error:
                reason = error
            except _NoProof as error:
                reason = error
                break
        return self._unanswered(digest, reason)

    # --- what the subscriber tells -----------------------------------------------------------------

    def catch_up(self, redis: Redis, complete: Place | None) -> bool:
        """Apply the changes up to ``complete``; False when Redis is behind what was seen."""
        with self._lock:
            applied = self._applied
            if complete is None or (self._seen is not None and complete < self._seen):
                return False
        if complete != applied:
            known = applied is not None and applied.epoch == complete.epoch
            changes = channel.read_changes(redis, applied, complete) if applied and known else []
            self._apply(changes, applied, complete)
        for digest in list(self._changed)[: channel.MAX_DIGESTS]:
            self._read_again(redis, digest)
        return True

    def followed(self, *, confirmed: bool) -> None:
        """The subscriber lives; with ``confirmed``, Redis said that nothing is missing here."""
        now = self._clock()
        if confirmed:
            self._kept_until = now + self._max_stale_s
        self._followed_until = min(now + FOLLOWED_S, self._kept_until)

    def keep(self) -> KeptKeys:
        """Return what belongs on disk."""
        with self._lock:
            usable = self._suspects | self._entries
            return KeptKeys(
                seen=str(self._seen) if self._seen else "",
                applied=str(self._applied) if self._applied else "",
                entries={digest: held.sealed for digest, held in usable.items()},
                revoked={digest: held.sealed for digest, held in self._revoked.items()},
            )

    def load(self, kept: KeptKeys, age_s: float) -> None:
        """Take in what was on disk, ``age_s`` after Redis was last heard."""
        with self._lock:
            for digest, sealed in (kept.entries | kept.revoked).items():
                try:
                    held = _open(digest, sealed)
                except ConfigError:
                    self.refused += 1
                    continue
                (self._revoked if held.entry.revoked else self._entries)[digest] = held
            self._seen = channel.parse_place(kept.seen.encode())
            self._applied = channel.parse_place(kept.applied.encode())
            self._kept_until = self._clock() + self._max_stale_s - age_s

    # --- deciding, without I/O ---------------------------------------------------------------------

    def _is_refused(self, digest: bytes) -> bool:
        followed = self._clock() < self._followed_until
        if not followed:
            self._ensure_followed()
        return digest in self._revoked or (followed and digest in self._misses)

    def _accept(self, digest: bytes, answer: channel.Answer, seen: Place | None) -> KeyEntry | None:
        complete = answer.complete
        held: _Held | None = None
        if complete is None or (seen is not None and complete < seen):
            self.refused += 1
            raise _NoProof("Redis lost keys and nobody has published them again")
        if answer.sealed is not None:
            try:
                held = _open(digest, answer.sealed)
            except ConfigError as error:
                self.refused += 1
                raise _NoProof(str(error)) from error
        with self._lock:
            if self._seen is not None and complete < self._seen:
                raise _Again("it changed while it was read")
            self._seen = complete
            if digest in self._revoked:
                return None
            if held is None or held.place.epoch < complete.epoch:
                self._remember_miss(digest)
                return None
            return self._remember(digest, held)

    def _remember(self, digest: bytes, held: _Held) -> KeyEntry | None:
        known = self._entries.get(digest) or self._suspects.get(digest) or self._changed.get(digest)
        if known is not None and held.place < known.place:
            self.refused += 1
            raise _NoProof(f"Redis holds an entry of revision {held.place.revision}, older than one seen")
        self._forget(digest)
        self.version += 1
        if held.entry.revoked:
            self._revoked[digest] = held
            return None
        self._entries[digest] = held
        _bound(self._entries, self._max_entries)
        return held.entry

    def _remember_miss(self, digest: bytes) -> None:
        self._forget(digest)
        self._misses[digest] = None
        _bound(self._misses, self._max_entries)

    def _forget(self, digest: bytes) -> None:
        for table in (self._entries, self._suspects, self._changed, self._misses):
            table.pop(digest, None)

    def _apply(self, changes: Iterable[channel.Change], applied: Place | None, complete: Place) -> None:
        with self._lock:
            told: set[bytes] = set()
            covered = applied.revision if applied is not None else -1
            for change in changes:
                if change.since > covered or change.digests is None:
                    break
                told.update(change.digests)
                covered = change.place.revision
            if covered < complete.revision:
                self._suspects |= self._entries
                self._entries.clear()
                self._misses.clear()
            for digest in told:
                self._misses.pop(digest, None)
                held = self._entries.pop(digest, None) or self._suspects.pop(digest, None)
                if held is not None:
                    self._changed[digest] = held
            self._applied = complete
            self._seen = max(self._seen or complete, complete)
            self.version += 1

    def _read_again(self, redis: Redis, digest: bytes) -> None:
        try:
            self._accept(digest, channel.read_key(redis, digest), self._seen)
        except (_Again, _NoProof):
            return  # it stays known as changed, and unusable

    def _unanswered(self, digest: bytes, reason: object) -> KeyEntry:
        with self._lock:
            held = self._entries.get(digest) or self._suspects.get(digest)
            if held is not None and self._clock() < self._kept_until:
                return held.entry
            known = "changed since it was last read" if digest in self._changed else "is not known here"
        raise ConfigUnavailable(
            f"the key cannot be checked: its entry {known}, and Redis gave none ({reason})"
        )


def _open(digest: bytes, sealed: bytes) -> _Held:
    envelope = unseal("key", sealed, name=digest)
    try:
        return _Held(_decoder.decode(envelope.body), envelope.place, sealed)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"a key's entry cannot be read: {error}") from error


def _bound(table: dict[bytes, _Held] | dict[bytes, None], size: int) -> None:
    while len(table) > size:
        del table[next(iter(table))]  # the oldest; it costs one question when it is used again
