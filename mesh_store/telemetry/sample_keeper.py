"""Content samples from their stream into their table, beside a collector and never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import asyncpg
import msgspec
from redis.exceptions import ResponseError

from mesh_store.model.samples import Sample
from mesh_store.postgres import content_samples
from mesh_store.postgres.usage_write import REFUSALS
from mesh_store.redis.client import connect_async
from mesh_store.redis.failures import FAILURES
from mesh_store.redis.sample_stream import GROUP, SAMPLES

log = logging.getLogger(__name__)

_READ = 64
_BLOCK_MS = 500
_CLAIM_MS = 60_000
#: Seconds between two prunings, and after a failure.
PRUNE_S, BACK_OFF_S = 3600.0, 5.0
_AWAY = (*FAILURES, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class SampleKeeper:
    """Keeps samples.

    Args:
        database_url: Postgres, as SQLAlchemy or as asyncpg writes it.
        redis_url: the server that takes samples.
        consumer: unique among those that run.
    """

    def __init__(self, database_url: str, redis_url: str, consumer: str) -> None:
        self._dsn = database_url.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._client: Any = connect_async(redis_url, deadline=10.0, connect_deadline=2.0)
        self._consumer = consumer
        self._connection: asyncpg.Connection | None = None
        self._joined = False
        self._pruned_at = self._claimed_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Keep samples until ``stop`` is set; failures are waited out."""
        warned = False
        try:
            while not stop.is_set():
                try:
                    await self.once(_BLOCK_MS)
                    warned = False
                except _AWAY as error:
                    self._joined = False
                    await self._let_go()
                    if not warned:
                        log.warning("samples are not kept now: %s: %s", type(error).__name__, error)
                    warned = True
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), BACK_OFF_S)
        finally:
            await self.close()

    async def once(self, block_ms: int | None = None) -> int:
        """Take what there is; return how many samples were kept."""
        if not self._joined:
            await self._join()
        if time.monotonic() - self._pruned_at >= PRUNE_S:
            await content_samples.prune(await self._postgres())
            self._pruned_at = time.monotonic()
        entries = await self._left_by_others()
        if not entries:
            reply: Any = await self._client.xreadgroup(
                GROUP, self._consumer, {SAMPLES: ">"}, count=_READ, block=block_ms
            )
            found = reply.items() if isinstance(reply, dict) else reply or ()
            entries = [entry for _, several in found for entry in several]
        if not entries:
            return 0
        samples = [sample for _, fields in entries if (sample := _decoded(fields)) is not None]
        kept = await self._keep(samples) if samples else 0
        ids = [identifier for identifier, _ in entries]
        await self._client.xack(SAMPLES, GROUP, *ids)
        await self._client.xdel(SAMPLES, *ids)
        return kept

    async def close(self) -> None:
        """Close both connections."""
        await self._let_go()
        with contextlib.suppress(*FAILURES):
            await self._client.aclose()

    async def _keep(self, samples: list[Sample]) -> int:
        """Store samples; where Postgres refuses them together, those that it takes alone."""
        connection = await self._postgres()
        try:
            return await content_samples.keep(connection, samples)
        except REFUSALS as error:
            if len(samples) == 1:
                log.warning("a sample that cannot be stored is dropped: %s", type(error).__name__)
                return 0
        return sum([await self._keep([sample]) for sample in samples])

    async def _join(self) -> None:
        try:
            await self._client.xgroup_create(SAMPLES, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._joined = True

    async def _left_by_others(self) -> list[Any]:
        if time.monotonic() - self._claimed_at < _CLAIM_MS / 1000:
            return []
        self._claimed_at = time.monotonic()
        reply: Any = await self._client.xautoclaim(
            SAMPLES, GROUP, self._consumer, _CLAIM_MS, "0-0", count=_READ
        )
        return [entry for entry in reply[1] if entry[0] is not None]

    async def _postgres(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            settings = {"application_name": "mesh samples", "search_path": "public"}
            self._connection = await asyncpg.connect(
                self._dsn, timeout=10, command_timeout=30, server_settings=settings
            )
        return self._connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _decoded(fields: Any) -> Sample | None:
    """Read an entry; what is none is let go."""
    try:
        return content_samples.decoded(fields[b"b"])
    except (KeyError, TypeError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
