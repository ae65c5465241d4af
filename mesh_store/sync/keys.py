"""Finds the entry of a caller's key: in memory, else by one question to Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis.exceptions import TimeoutError as RedisTimeout

from mesh_store.model.errors import ConfigError, ConfigUnavailable, MeshError
from mesh_store.model.signing import Place
from mesh_store.model.snapshot import KeyEntry
from mesh_store.redis import config_channel as channel
from mesh_store.redis.client import connect
from mesh_store.redis.failures import FAILURES, translate
from mesh_store.sync.clock import seconds
from mesh_store.sync.key_table import KeyTable, MovedOn, NoProof
from mesh_store.sync.loops import ClientPerLoop
from mesh_store.sync.trust import Trust

if TYPE_CHECKING:
    from redis import Redis

#: Seconds a first look-up may wait for Redis; later ones do not ask.
LOOKUP_DEADLINE = 0.5
#: How often one look-up asks: a dropped connection is made anew, a change in between read again.
ATTEMPTS = 4
#: Seconds for which a server that stayed silent on two connections is not asked: else every call would wait.
SILENT_S = 1.0
#: Seconds without a word from the subscriber after which a cached answer is asked for again.
FOLLOWED_S = 10.0
#: How many changed entries are read again at once; the rest when they are used, or by the next poll.
READ_AGAIN = 100


class KeyCache:
    """Finds entries by digest; `KeyTable` decides what counts.

    Args:
        redis_url: where entries are asked for.
        trust: whose entries count; anybody's by default.
        max_entries: how many entries are kept, and how many misses.
        max_stale_s: how long entries are honoured after Redis last confirmed them.
        ensure_followed: called when a look-up finds nobody following the changes.
        clock: seconds that only grow.

    Attributes:
        table: what is known.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        trust: Trust | None = None,
        max_entries: int = 10_000,
        max_stale_s: float = 86_400.0,
        ensure_followed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = seconds,
    ) -> None:
        self._url = redis_url
        self._ensure_followed = ensure_followed
        self._clock = clock
        self._followed_until = float("-inf")
        self._silence: tuple[float, Exception] = (float("-inf"), NoProof("it was not asked"))
        self.table = KeyTable(trust or Trust(), max_entries=max_entries, max_stale_s=max_stale_s, clock=clock)
        self._connect()

    def _connect(self) -> None:
        self._redis = connect(self._url, deadline=LOOKUP_DEADLINE)
        self._loops = ClientPerLoop(self._url, deadline=LOOKUP_DEADLINE)

    def after_fork(self) -> None:
        """Start anew in a child; what is known stays, but is asked for until somebody follows again."""
        _inherited.append((self._redis, self._loops))
        self._followed_until = float("-inf")
        self.table.after_fork()
        self._connect()

    def close(self) -> None:
        """Drop the connections of threads; a later look-up makes new ones."""
        self._redis.close()

    # --- look-ups, both colours --------------------------------------------------------------------

    def lookup(self, digest: bytes, *, again: bool = False) -> KeyEntry | None:
        """Return the entry of the key with ``digest``; None when it is unknown or revoked.

        Expiry is the caller's to check, by the clock of the call.

        Args:
            digest: of the key's text.
            again: ask Redis even if an entry is cached.

        Raises:
            ConfigUnavailable: nobody can say.
            ConfigError: Redis refuses to say, and will until somebody corrects the settings.
        """
        held = self.table.entries.get(digest)
        if held is not None and not again and self._clock() < self._followed_until:
            return held.entry
        if self._is_refused(digest):
            return None
        if (own := self.table.vouching_for(digest)) is not None:
            with contextlib.suppress(MeshError):  # who asks for that key hears what is wrong with it
                self.lookup(own)
        silent_until, failure = self._silence
        for attempt in range(ATTEMPTS if self._clock() >= silent_until else 0):
            seen = self.table.seen
            try:
                return self.table.accept(digest, channel.read_key(self._redis, digest), seen)
            except (MovedOn, NoProof, *FAILURES) as error:
                failure = error
            if self._gives_up(failure, attempt):
                break
        return self._fall_back(digest, failure)

    async def alookup(self, digest: bytes, *, again: bool = False) -> KeyEntry | None:
        """Like `lookup`, in an event loop."""
        held = self.table.entries.get(digest)
        if held is not None and not again and self._clock() < self._followed_until:
            return held.entry
        if self._is_refused(digest):
            return None
        if (own := self.table.vouching_for(digest)) is not None:
            with contextlib.suppress(MeshError):
                await self.alookup(own)
        silent_until, failure = self._silence
        for attempt in range(ATTEMPTS if self._clock() >= silent_until else 0):
            seen = self.table.seen
            try:
                redis = await self._loops.client()
                return self.table.accept(digest, await channel.aread_key(redis, digest), seen)
            except (MovedOn, NoProof, *FAILURES) as error:
                failure = error
            if self._gives_up(failure, attempt):
                break
        return self._fall_back(digest, failure)

    # --- what the subscriber tells -----------------------------------------------------------------

    @property
    def place(self) -> Place | None:
        """Up to where changes were applied, or None."""
        return self.table.applied

    def catch_up(self, redis: Redis, complete: Place | None) -> bool:
        """Apply the changes up to ``complete``; False when Redis is behind what was seen."""
        if complete is None or self.table.is_behind(complete):
            return False
        applied = self.table.applied
        if complete != applied:
            same_epoch = applied is not None and applied.epoch == complete.epoch
            changes = channel.read_changes(redis, applied, complete) if applied and same_epoch else []
            self.table.apply(changes, complete)
        for digest in self.table.changed()[:READ_AGAIN]:
            # What cannot be read again stays known as changed, and unusable.
            with contextlib.suppress(MovedOn, NoProof):
                self.table.accept(digest, channel.read_key(redis, digest), self.table.seen)
        return True

    def followed(self, *, confirmed: bool) -> None:
        """The subscriber lives; with ``confirmed``, Redis said that nothing is missing here."""
        if confirmed:
            self.table.confirm()
        self._followed_until = min(self._clock() + FOLLOWED_S, self.table.kept_until)

    # --- private -----------------------------------------------------------------------------------

    def _is_refused(self, digest: bytes) -> bool:
        followed = self._clock() < self._followed_until
        if not followed:
            self._ensure_followed()
        return self.table.is_revoked(digest) or (followed and self.table.is_missing(digest))

    def _gives_up(self, failure: Exception, attempt: int) -> bool:
        """Tell whether asking again is no use; the second try after a silence has a new connection."""
        if attempt and isinstance(failure, (RedisTimeout, TimeoutError)):
            self._silence = (self._clock() + SILENT_S, failure)
            return True
        return isinstance(failure, NoProof)

    def _fall_back(self, digest: bytes, failure: Exception) -> KeyEntry:
        entry = self.table.fallback(digest)
        if entry is not None:
            return entry
        if isinstance(failure, FAILURES):
            mistake = translate(failure)
            if isinstance(mistake, ConfigError):
                raise mistake from failure
        raise ConfigUnavailable(
            f"the key cannot be checked: no usable entry is cached, and Redis gave none ({failure})"
        ) from failure


#: Connections of the parent, kept from the garbage collector: closing them here would end them there.
_inherited: list[object] = []
