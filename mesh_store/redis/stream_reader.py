"""The collector's side of the stream of facts: read, claim, acknowledge, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mesh_store.redis.client import anode_of
from mesh_store.redis.servers.cluster_async import AsyncCluster
from mesh_store.redis.stream import COLLECTORS, DONE_TTL_S, GROUP, REACHED, Batch, done_key, stream_key

#: A consumer that has not read for so long and owes nothing is forgotten.
FORGET_CONSUMER_S = 24 * 3600
#: Collectors are thought gone when none has reported for so long.
HEARTBEAT_TTL_S = 60


class Entry(NamedTuple):
    """An entry as it lies in the stream; ``fields`` is empty when somebody trimmed it away."""

    stream: str
    id: bytes
    fields: Mapping[bytes, bytes]


class StreamReader:
    """One consumer of the group, on a client that raises on every failure and never retries.

    Args:
        client: its timeout must be longer than ``block_ms`` of `fresh`.
        consumer: unique among the collectors that run.
        shards: number of streams; producers must use the same.
    """

    def __init__(self, client: Redis, consumer: str, *, shards: int = 1) -> None:
        self._client = client
        self._consumer = consumer
        self._streams = [stream_key(shard) for shard in range(shards)]
        self._claimed_to: dict[str, Any] = {}

    async def join(self) -> None:
        """Make the group where it is missing; facts that were sent before it are read, too."""
        for stream in self._streams:
            try:
                await self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def owed(self, count: int) -> list[Entry]:
        """Return entries this consumer was given and has not acknowledged."""
        return await self._read(dict.fromkeys(self._streams, "0"), count, None)

    async def fresh(self, count: int, block_ms: int | None) -> list[Entry]:
        """Return entries nobody was given yet; wait up to ``block_ms`` for the first, None not at all."""
        return await self._read(dict.fromkeys(self._streams, ">"), count, block_ms)

    async def claim(self, idle_ms: int, count: int) -> list[Entry]:
        """Take over entries that a consumer was given and has not acknowledged for ``idle_ms``."""
        taken: list[Entry] = []
        for stream in self._streams:
            reply: Any = await self._client.xautoclaim(
                stream, GROUP, self._consumer, idle_ms, self._claimed_to.get(stream, "0-0"), count=count
            )
            self._claimed_to[stream] = reply[0]
            taken += [Entry(stream, entry, fields or {}) for entry, fields in reply[1] if entry is not None]
        return taken

    async def finish(self, entries: Sequence[Entry], batches: Sequence[Batch]) -> None:
        """Tell the producers what is committed, then take the entries out of the stream."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for batch in batches:
                key = done_key(batch.ring, len(self._streams))
                pipeline.hset(key, f"{batch.generation}:{batch.start}", str(batch.end))
                pipeline.expire(key, DONE_TTL_S)
            for stream in self._streams:
                ids = [entry.id for entry in entries if entry.stream == stream]
                if ids:
                    pipeline.xack(stream, GROUP, *ids)
                    pipeline.xdel(stream, *ids)
            await pipeline.execute()

    async def tell_how_far(self) -> None:
        """Tell producers before which entry the streams hold none: what of it is not acknowledged is lost.

        The moment is taken first, so that an entry added meanwhile is never counted among them.
        """
        for shard, stream in enumerate(self._streams):
            seconds, micros = await (await anode_of(self._client, stream)).time()
            oldest: Any = await self._client.xrange(stream, count=1)
            reached = oldest[0][0] if oldest else f"{seconds * 1000 + micros // 1000}-0"
            await self._client.hset(REACHED, str(shard), reached)

    async def beat(self, report: str) -> None:
        """Show that this collector lives, and how it does."""
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(COLLECTORS, self._consumer, report)
            pipeline.expire(COLLECTORS, HEARTBEAT_TTL_S)
            await pipeline.execute()

    async def leave(self) -> None:
        """Forget this consumer if it owes nothing; what it owes others will claim."""
        await self._client.hdel(COLLECTORS, self._consumer)
        await self._forget(lambda consumer: bool(consumer["name"] == self._consumer.encode()))

    async def forget_the_dead(self) -> None:
        """Forget consumers that owe nothing and were not heard of for a day."""
        await self._forget(lambda consumer: bool(consumer["idle"] > FORGET_CONSUMER_S * 1000))

    async def backlog(self) -> int:
        """Entries in the streams: waiting, or being committed."""
        return sum([await self._client.xlen(stream) for stream in self._streams])

    async def _forget(self, chosen: Any) -> None:
        for stream in self._streams:
            for consumer in await self._client.xinfo_consumers(stream, GROUP):
                if consumer["pending"] == 0 and chosen(consumer):
                    await self._client.xgroup_delconsumer(stream, GROUP, consumer["name"])

    async def _read(self, streams: dict[Any, Any], count: int, block_ms: int | None) -> list[Entry]:
        if len(streams) > 1 and isinstance(self._client, AsyncCluster):
            # Streams of several servers cannot be waited for in one command.
            parts = [self._read({name: after}, count, block_ms) for name, after in streams.items()]
            return [entry for part in await asyncio.gather(*parts) for entry in part]
        reply: Any = await self._client.xreadgroup(
            GROUP, self._consumer, streams, count=count, block=block_ms
        )
        # redis-py answers with a list or, in RESP3, with a dictionary.
        pairs: Any = reply.items() if isinstance(reply, dict) else reply or ()
        found: list[Entry] = []
        for stream, entries in pairs:
            name = stream.decode() if isinstance(stream, bytes) else stream
            found += [Entry(name, entry, fields or {}) for entry, fields in entries]
        return found
