"""From the stream into Postgres: read, store, commit, tell the producers, delete.

Any number of collectors may run. One that dies between commit and acknowledgement has its entries
taken over by another, which stores nothing twice and acknowledges again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mesh_store.model.errors import MeshError, Unavailable
from mesh_store.model.ids import now_us
from mesh_store.postgres.usage_write import Dead
from mesh_store.redis.client import connect_async
from mesh_store.redis.failures import FAILURES
from mesh_store.redis.stream import BATCH_VERSION, Batch
from mesh_store.redis.stream_reader import Entry, StreamReader
from mesh_store.telemetry.budget_keeper import BudgetKeeper
from mesh_store.telemetry.draining import drain
from mesh_store.telemetry.exporters.feed import listening, offer
from mesh_store.telemetry.fact_store import FactStore
from mesh_store.telemetry.intake import parked
from mesh_store.telemetry.sample_keeper import SampleKeeper

log = logging.getLogger(__name__)

#: Entries read at once, and facts stored in one transaction.
READ_ENTRIES = 64
COMMIT_FACTS = 5000
#: Seconds to wait for new entries before looking around.
BLOCK_S = 0.5
#: Seconds between two reports of this collector.
BEAT_S = 5.0
#: Seconds after which an entry another collector was given is taken over.
CLAIM_S = 30.0
#: Seconds between two looks for budgets whose present window Redis knows nothing about.
SEED_S = 0.5
#: Seconds between two drains of the home's orphaned rings.
DRAIN_S = 10.0
#: Seconds to wait after a failure, doubled from the first to the second.
BACK_OFF_S = (0.1, 5.0)


class Collected(NamedTuple):
    """What a collector did.

    Attributes:
        entries: stream entries taken.
        facts: facts that were new.
        repeated: facts Postgres had already.
        dead: what went to ``telemetry_dead``.
    """

    entries: int = 0
    facts: int = 0
    repeated: int = 0
    dead: int = 0

    def plus(self, other: Collected) -> Collected:
        """Add two reports."""
        return Collected(*(a + b for a, b in zip(self, other, strict=True)))


class Collector:
    """Takes facts out of the stream and stores each once.

    Args:
        database_url: Postgres, as SQLAlchemy or as asyncpg writes it.
        redis_url: the server that takes the facts.
        home: a directory whose orphaned rings are drained along the way, or None.
        settle_redis_url: the server that holds the limits; None means ``redis_url``.
        consumer: this collector's name in the group; unique among those that run.
        shards: number of streams that facts of drained rings are spread over; it reads every stream there is.
        claim_s: seconds after which an entry another collector was given is taken over.

    Attributes:
        done: what was done so far.
        failures: how often Redis or Postgres could not be used.
    """

    def __init__(
        self,
        database_url: str,
        redis_url: str,
        home: Path | str | None = None,
        *,
        settle_redis_url: str | None = None,
        consumer: str | None = None,
        shards: int = 1,
        claim_s: float = CLAIM_S,
    ) -> None:
        self.done = Collected()
        self.failures = 0
        self._database_url = database_url
        self._redis_url = redis_url
        self._settle_url = settle_redis_url or redis_url
        self._home = home
        self._shards = shards
        self._claim_s = claim_s
        name = consumer or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._client = connect_async(redis_url, deadline=10.0, connect_deadline=2.0)
        self._reader = StreamReader(self._client, name)
        self._limits_client = connect_async(self._settle_url, deadline=2.0, connect_deadline=2.0)
        self._samples = SampleKeeper(database_url, redis_url, name)
        self._budgets = BudgetKeeper(self._limits_client)
        self._store: FactStore | None = None
        self._joined = False
        self._owing = True
        self._exporting = False
        self._beat_at = self._claim_at = self._seed_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until ``stop`` is set; failures are waited out."""
        beside = [asyncio.create_task(self._samples.run(stop))]
        if self._home is not None:
            beside.append(asyncio.create_task(self._keep_draining(self._home, stop)))
        in_a_row = 0
        try:
            while not stop.is_set():
                try:
                    await self._round(int(BLOCK_S * 1000))
                    in_a_row = 0
                except (*FAILURES, Unavailable) as error:
                    in_a_row += 1
                    self._broken(error, in_a_row)
                    await _pause(stop, in_a_row)
        finally:
            await asyncio.gather(*beside)
            await self.close()

    async def collect_once(self) -> Collected:
        """Store everything that is in the stream now; return what was done.

        Raises:
            DatabaseUnavailable: Postgres cannot be used; nothing is lost.
            Unavailable: Redis cannot be used; nothing is lost.
        """
        done = Collected()
        try:
            if self._joined:
                await self._reader.look_around()  # producers may have begun another stream since
            while (step := await self._round(None)).entries:
                done = done.plus(step)
        except Unavailable as error:
            self._broken(error, 1)
            raise
        except FAILURES as error:
            self._broken(error, 1)
            raise Unavailable(f"facts cannot be read from Redis ({type(error).__name__}: {error})") from error
        return done

    async def close(self) -> None:
        """Leave the group and close both connections."""
        with contextlib.suppress(*FAILURES):
            if self._joined:
                await self._reader.leave()
        with contextlib.suppress(*FAILURES):
            await self._client.aclose()
            await self._limits_client.aclose()
        await self._samples.close()
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _round(self, block_ms: int | None) -> Collected:
        """Take what there is: first what we owe, then what others left, then what is new."""
        if not self._joined:
            await self._reader.join()
            self._joined = True
        if self._store is None:
            self._store = await FactStore.open(self._database_url)
        await self._beat()
        await self._seed(self._store)
        entries: list[Entry] = []
        if self._owing:
            entries = await self._reader.owed(READ_ENTRIES)
            self._owing = bool(entries)
        if not entries and time.monotonic() - self._claim_at >= min(BEAT_S, self._claim_s):
            self._claim_at = time.monotonic()
            entries = await self._reader.claim(int(self._claim_s * 1000), READ_ENTRIES)
        if not entries:
            entries = await self._reader.fresh(READ_ENTRIES, block_ms)
        done = Collected()
        for part in _parts(entries):
            done = done.plus(await self._take(self._store, part))
        self.done = self.done.plus(done)
        return done

    async def _take(self, store: FactStore, entries: Sequence[Entry]) -> Collected:
        batches, dead, buried = [], [], []
        for entry in entries:
            try:
                batches.append(Batch.parse(entry.fields))
            except ValueError as error:
                if entry.fields:
                    dead.append(_dead(entry, str(error)))
                    buried += _acknowledgeable(entry)
        stored = await store.store(batches, dead)
        # Committed: from here on nothing can be lost, only repeated.
        await self._budgets.tell(stored.counted)
        if batches and self._exporting:
            await offer(self._client, batches)
        await self._reader.finish(entries, [*batches, *buried])
        return Collected(len(entries), stored.new, stored.repeated, stored.dead)

    async def _beat(self) -> None:
        if time.monotonic() - self._beat_at < BEAT_S:
            return
        self._beat_at = time.monotonic()
        await self._reader.look_around()
        report = {"at_us": now_us(), "backlog": await self._reader.backlog(), "failures": self.failures}
        self._exporting = await listening(self._client)
        await self._reader.beat(msgspec.json.encode(report | self.done._asdict()).decode())
        await self._reader.forget_the_dead()

    async def _seed(self, store: FactStore) -> None:
        """Do what is due more often than a report: tell producers how far this is, and seed budgets."""
        if time.monotonic() - self._seed_at >= SEED_S:
            self._seed_at = time.monotonic()
            await self._reader.tell_how_far()
            await self._budgets.seed(store, now_us())

    def _broken(self, error: Exception, in_a_row: int) -> None:
        """Start over: the group may be gone with its server, and what we were given is owed."""
        self.failures += 1
        self._joined, self._owing = False, True
        store, self._store = self._store, None
        if store is not None:
            store.terminate()
        if in_a_row == 1:
            log.warning("collecting is interrupted: %s: %s", type(error).__name__, error)

    async def _keep_draining(self, home: Path | str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(
                    drain, home, self._settle_url, self._redis_url, shards=self._shards, timeout_s=2.0
                )
            except (MeshError, OSError):
                log.exception("orphaned rings cannot be drained")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), DRAIN_S)


def _dead(entry: Entry, why: str) -> Dead:
    if (version := entry.fields.get(b"v", b"")).isdigit() and int(version) > BATCH_VERSION:
        return parked(dict(entry.fields), "", f"a batch of version {int(version)}")
    return Dead("not_a_batch", why, "", msgspec.msgpack.encode(dict(entry.fields)))


def _acknowledgeable(entry: Entry) -> list[Batch]:
    """Return the range an entry that is buried stands for, or its producer would send it for ever."""
    try:
        return [Batch.parse({**entry.fields, b"v": b"%d" % BATCH_VERSION})]
    except ValueError:
        return []


def _parts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Cut what was read into transactions."""
    part: list[Entry] = []
    facts = 0
    for entry in entries:
        count = entry.fields.get(b"n", b"0")
        here = int(count) if count.isdigit() else 0
        if part and facts + here > COMMIT_FACTS:
            yield part
            part, facts = [], 0
        part.append(entry)
        facts += here
    if part:
        yield part


async def _pause(stop: asyncio.Event, in_a_row: int) -> None:
    ceiling = min(BACK_OFF_S[0] * 2 ** min(in_a_row, 10), BACK_OFF_S[1])
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), random.uniform(ceiling / 2, ceiling))
