"""A runtime over the real core whose configuration, limiter and recorder are a few lines each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from mesh_plugins.core.runtime import Runtime
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.facts import Done, Fact
from mesh_store.model.limits import Decision, Reservation
from mesh_store.model.snapshot import (
    KeyEntry,
    Snapshot,
    SnapshotDocument,
)


@dataclass
class Config:
    """A configuration that never changes; every call looks its key up once."""

    document: SnapshotDocument
    entries: dict[bytes, KeyEntry]
    lookups: int = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(self.document)

    def lookup(self, digest: bytes) -> KeyEntry | None:
        self.lookups += 1
        return self.entries.get(digest)

    async def alookup(self, digest: bytes) -> KeyEntry | None:
        return self.lookup(digest)

    refetch, arefetch = lookup, alookup


@dataclass
class Limiter:
    """Admits everything until it is told to refuse or to be away."""

    refuses: bool = False
    away: Exception | None = None
    asked: int = 0

    def reserve(self, charges: Any, *, reservation_id: Any = None, **_: Any) -> Decision:
        self.asked += 1
        if self.away is not None:
            raise self.away
        none_left = tuple(0 for _ in charges)
        if self.refuses:
            return Decision(
                admitted=False,
                remaining=none_left,
                retry_after_us=2_500_000,
                reset_after_us=none_left,
                binding=0,
                reservation=None,
            )
        return Decision(
            admitted=True,
            remaining=none_left,
            retry_after_us=0,
            reset_after_us=none_left,
            reservation=Reservation(reservation_id, tuple(charges), 1, 2),
        )


class AsyncLimiter:
    """The same limiter, awaited."""

    def __init__(self, inner: Limiter) -> None:
        self.inner = inner

    async def reserve(self, *args: Any, **kwargs: Any) -> Decision:
        return self.inner.reserve(*args, **kwargs)


@dataclass
class Recorder:
    """Keeps every record in order."""

    done_records: list[Done] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def asked(self, asked: Any) -> None:
        pass

    def intent(self, intent: Any) -> None:
        pass

    def cancel(self, cancel: Any) -> None:
        pass

    def settle(self, settlement: Any) -> None:
        pass

    def done(self, done: Done) -> None:
        with self.changed:
            self.done_records.append(done)
            self.changed.notify_all()

    @property
    def facts(self) -> list[Fact]:
        return [record.fact for record in self.done_records]

    @property
    def fact(self) -> Fact:
        (only,) = self.facts
        return only

    @property
    def settlements(self) -> int:
        return sum(record.settlement is not None for record in self.done_records)

    def wait_for(self, facts: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.done_records) >= facts, timeout=60)


@dataclass
class World:
    """A runtime that governs litellm, and everything it touches."""

    runtime: Runtime
    config: Config
    limiter: Limiter
    recorder: Recorder
    provider: StandInProvider

    @property
    def sent(self) -> Any:
        """The one request that reached the provider."""
        (only,) = self.provider.requests
        return only
