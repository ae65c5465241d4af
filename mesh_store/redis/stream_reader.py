"""The collector's side of the stream of facts: read, claim, acknowledge, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mesh_store.redis.client import anode_of, doubting
from mesh_store.redis.servers.cluster_async import AsyncCluster
from mesh_store.redis.stream import (
    COLLECTORS,
    DONE_TTL_S,
    GROUP,
    MOST_SHARDS,
    REACHED,
    Batch,
    done_key,
    stream_key,
)

#: A consumer that has not read for so long and owes nothing is forgotten.
FORGET_CONSUMER_S = 24 * 3600
#: Collectors are thought gone when none has reported for so long.
HEARTBEAT_TTL_S = 60


class Entry(NamedTuple):
    """An entry as it lies in the stream; ``fields`` is empty when somebody trimmed it away."""

    stream: str
    id: bytes
    fields: Mapping[bytes, bytes]


async def streams_of(client: Redis) -> list[str]:
    """Return the streams that producers have handed facts into; the first is always one."""
    async with client.pipeline(transaction=False) as pipeline:
        for shard in range(1, MOST_SHARDS):
            pipeline.exists(stream_key(shard))
        found = await pipeline.execute()
    return [stream_key(0), *(stream_key(shard) for shard, there in enumerate(found, start=1) if there)]


class StreamReader:
    """One consumer of the group, on a client that raises on every failure and never retries.

    It reads every stream there is: how many there are is what producers were told.

    Args:
        client: its timeout must be longer than ``block_ms`` of `fresh`.
        consumer: unique among the collectors that run.
    """

    def __init__(self, client: Redis, consumer: str) -> None:
        self._client = client
        self._consumer = consumer
        self._streams = [stream_key(0)]
        self._joined: set[str] = set()
        self._claimed_to: dict[str, Any] = {}

    async def join(self) -> None:
        """Make the group where it is missing; facts that were sent before it are read, too."""
        self._joined.clear()
        await self.look_around()

    async def look_around(self) -> None:
        """Join the group of every stream that was not there before: producers may be told to use more."""
        found = await streams_of(self._client)
        for stream in set(found) - self._joined:
            try:
                await self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
            self._joined.add(stream)
        self._streams = found

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
        # A ring's acknowledgements lie beside the stream its facts were read from: producers know which.
        read_from: dict[bytes, set[str]] = {}
        for entry in entries:
            read_from.setdefault(entry.fields.get(b"r", b""), set()).add(entry.stream)
        async with self._client.pipeline(transaction=False) as pipeline:
            for batch in batches:
                for stream in read_from[batch.ring.encode()]:
                    key = done_key(batch.ring, stream)
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
        for stream in self._streams:
            shard = stream.rpartition(":")[2]
            node = await anode_of(self._client, stream)
            with doubting(self._client, node):
                seconds, micros = await node.time()
            oldest: Any = await self._client.xrange(stream, count=1)
            reached = oldest[0][0] if oldest else f"{seconds * 1000 + micros // 1000}-0"
            await self._client.hset(REACHED, shard, reached)

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
            # Streams of several servers cannot be waited for in one command, nor a busy one for a quiet one.
            if block_ms is not None and (found := await self._read(streams, count, None)):
                return found
            parts = [self._read({name: after}, count, block_ms) for name, after in streams.items()]
            return [entry for part in await asyncio.gather(*parts) for entry in part]
        reply: Any = await self._client.xreadgroup(
            GROUP, self._consumer, streams, count=count, block=block_ms
        )
        # redis-py answers with a list or, in RESP3, with a dictionary.
        pairs: Any = reply.items() if isinstance(reply, dict) else reply or ()
        taken: list[Entry] = []
        for stream, entries in pairs:
            name = stream.decode() if isinstance(stream, bytes) else stream
            taken += [Entry(name, entry, fields or {}) for entry, fields in entries]
        return taken
