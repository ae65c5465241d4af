"""What a process holds open for its calls: the configuration, the limiter, the recorder, the engines.

Built from `Settings`, closed together, in the order that loses nothing: the recorder ships what it
can before the engines it ships to may go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mesh_plugins.settings import COLLECTOR, Settings
from mesh_store.model.errors import ConfigError
from mesh_store.model.facts import Cancel, Fact
from mesh_store.model.limits import Charge, Decision
from mesh_store.model.samples import Sample
from mesh_store.model.snapshot import KeyEntry, Snapshot
from mesh_store.redis import connect
from mesh_store.redis.breaker import Breaker
from mesh_store.redis.guard import Guard, GuardedAsyncLimiter, GuardedLimiter
from mesh_store.redis.lease_book import LeaseBook
from mesh_store.redis.lease_keeper import LeaseKeeper
from mesh_store.redis.leasing import LeasingLimiter
from mesh_store.redis.outage import OutagePolicy
from mesh_store.redis.presence import Presence
from mesh_store.sync import Subscriber
from mesh_store.sync.loops import ClientPerLoop
from mesh_store.sync.trust import Trust, parse_trust_key
from mesh_store.telemetry import Recorder
from mesh_store.telemetry.sampler import Sampler

if TYPE_CHECKING:
    from mesh_store.embedded import Engines

#: Seconds the keeper of leases waits for an answer; no call waits for it.
LEASE_DEADLINE_S = 1.0

#: Seconds of a close without a timeout: of facts while some arrive, of what does not move, so that a process
#: ends within one with Redis away, and of these for facts of which none arrive.
CLOSE_S, AWAY_S, STILL_S = 2.0, 0.8, 0.4
#: Seconds that samples may take of a process' end.
SAMPLES_S = 0.3
#: What each part that is closed may wait when the time is up, seconds: threads end by themselves.
LEAST_S = 0.05

OnSnapshot = Callable[[Snapshot | None, Snapshot], None]
OnSample = Callable[[Sample, Fact], Sample | None]


class LiveConfig:
    """The configuration port over a `Subscriber`."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot; raises `ConfigUnavailable`."""
        return self.subscriber.snapshot()

    def lookup(self, digest: bytes) -> KeyEntry | None:
        """Return the key with this digest, or None when there is certainly none."""
        return self.subscriber.keys.lookup(digest)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        """Like `lookup`, on the caller's event loop."""
        return await self.subscriber.keys.alookup(digest)

    def refetch(self, digest: bytes) -> KeyEntry | None:
        """Return the key with this digest, asking again whatever is remembered."""
        return self.subscriber.keys.lookup(digest, again=True)

    async def arefetch(self, digest: bytes) -> KeyEntry | None:
        """Like `refetch`, on the caller's event loop."""
        return await self.subscriber.keys.alookup(digest, again=True)


class LimiterPerLoop:
    """An async limiter for any number of event loops; connections never cross from one to another."""

    def __init__(self, url: str, guard: Guard, *, deadline: float) -> None:
        self._guard = guard
        self._clients = ClientPerLoop(url, deadline=deadline)
        self._limiters: dict[asyncio.AbstractEventLoop, GuardedAsyncLimiter] = {}

    async def reserve(
        self,
        charges: Sequence[Charge],
        *,
        reservation_id: str | None = None,
        max_wait_us: int = 0,
        ttl_us: int = 0,
    ) -> Decision:
        """Decide on the running loop; see `mesh_store.redis.AsyncLimiter.reserve`."""
        loop = asyncio.get_running_loop()
        limiter = self._limiters.get(loop)
        if limiter is None:
            for ended in [other for other in list(self._limiters) if other.is_closed()]:
                self._limiters.pop(ended, None)
            limiter = GuardedAsyncLimiter(await self._clients.client(), self._guard)
            self._limiters[loop] = limiter
        return await limiter.reserve(
            charges, reservation_id=reservation_id, max_wait_us=max_wait_us, ttl_us=ttl_us
        )


class Connections:
    """Everything a `Mesh` of these settings holds open.

    Attributes:
        engines: the embedded engines this process keeps running, or None.
        subscriber: follows the configuration.
        presence: says that this process lives, and hears how many do.
        guard: answers for limits while Redis cannot.
        limiter: decides charges for threads.
        async_limiter: decides charges on any event loop.
        recorder: remembers what happened.
        leases: slices of hot limits, taken ahead; None where settings say so.
        sampler: sends content samples of teams that switched them on.
        database_url: for reports; None when this process was not told.
    """

    def __init__(self, settings: Settings, on_snapshot: OnSnapshot, on_sample: OnSample) -> None:
        self.engines = _engines(settings)
        redis_url = self.engines.redis_url if self.engines else settings.redis_url
        if redis_url is None:
            raise ConfigError("MESH_DATABASE_URL is set but MESH_REDIS_URL is not: set both, or neither")
        self.database_url = self.engines.database_url if self.engines else settings.database_url
        self.leases = LeaseBook() if settings.leases else None
        self._on_snapshot = on_snapshot
        self.subscriber = Subscriber(
            redis_url,
            disk=settings.home / "config",
            on_change=self._changed,
            max_stale_s=settings.max_stale_s,
            trust=trust_of(settings),
        )
        self.presence = Presence(redis_url)
        self.recorder = Recorder(
            settings.home,
            redis_url,
            settings.telemetry_redis_url,
            shards=settings.telemetry_shards,
            leases=self.leases,
        )
        self.guard = Guard(
            Breaker(),
            OutagePolicy(lambda: self.presence.count),
            self.leases,
            self.recorder.flush_settlements,
            lambda reservation_id, charges: self.recorder.cancel(Cancel(reservation_id, tuple(charges))),
        )
        self.limiter = GuardedLimiter(connect(redis_url, deadline=settings.decision_s), self.guard)
        self.async_limiter = LimiterPerLoop(redis_url, self.guard, deadline=settings.decision_s)
        self._keeper: LeaseKeeper | None = None
        if self.leases is not None:
            self._keeper = LeaseKeeper(
                self.leases,
                lambda: LeasingLimiter(connect(redis_url, deadline=LEASE_DEADLINE_S)),
                lambda: self.presence.count,
            )
        self.sampler = Sampler(settings.telemetry_redis_url or redis_url, on_sample)
        self.subscriber.start()
        self.presence.start()

    def close(self, timeout_s: float | None = None) -> None:
        """Ship what can be shipped in time and let go of everything; all of it shares the time.

        Args:
            timeout_s: seconds; None waits for facts as long as some arrive, and less than one in all with
                Redis away.
        """
        until = time.monotonic() + (AWAY_S if timeout_s is None else timeout_s)

        def left() -> float:
            return max(LEAST_S, until - time.monotonic())

        if self._keeper is not None:
            self._keeper.close(min(left(), LEASE_DEADLINE_S if timeout_s is not None else SAMPLES_S))
        if timeout_s is None:
            self.recorder.close(CLOSE_S, STILL_S)
        else:
            self.recorder.close(left())
        self.sampler.close(min(left(), SAMPLES_S))
        self.subscriber.close(left())
        self.presence.close(left())
        if self.engines is not None:
            self.engines.close()

    def _changed(self, old: Snapshot | None, new: Snapshot) -> None:
        if self.leases is not None:
            # Slices of limits that may be others now.
            self.leases.end_all()
        self._on_snapshot(old, new)


def trust_of(settings: Settings) -> Trust:
    """Return whom a process of these settings believes: MESH_TRUST_KEY, else whom MESH_KEY vouches for."""
    publisher = parse_trust_key(settings.trust_key) if settings.trust_key else None
    return Trust(publisher, settings.key.get_secret_value() if settings.key else None)


def _engines(settings: Settings) -> Engines | None:
    if not settings.embedded:
        return None
    from mesh_store.embedded import attach

    return attach(settings.home, companions=[COLLECTOR])
