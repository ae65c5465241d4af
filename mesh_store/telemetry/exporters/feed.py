"""The stream of what was committed: collectors add to it while somebody listens, exporters take from it.

==================  ==========================================================================
``mesh:exports``    stream of batches, ``MAXLEN ~``: an exporter that is away costs others nothing
``mesh:exporters``  set for half a minute by every exporter that runs; without it nothing is added
==================  ==========================================================================

A group on the stream of facts itself could not work: a collector deletes an entry once it is committed,
whether another group has read it or not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from mesh_store.model.facts import Fact
from mesh_store.redis.stream import Batch
from mesh_store.redis.stream_reader import FORGET_CONSUMER_S

EXPORTS = "mesh:exports"
LISTENING = "mesh:exporters"
GROUP = "exporters"
#: Batches kept at most, about; half a million facts at 512 each is about a minute at 8,000 a second.
MAXLEN = 1_000
#: Seconds an exporter counts as running after it was last heard of.
LISTENING_S = 30
#: Batches one `Feed.take` returns at most: 8,192 facts.
TAKEN = 16
#: Batches remembered so that one that is told twice counts once.
_REMEMBERED = 10_000

log = logging.getLogger(__name__)
_facts = msgspec.msgpack.Decoder(list[Fact])


async def listening(client: Redis) -> bool:
    """Tell whether any exporter runs; a collector whose user may not ask has none."""
    try:
        return bool(await client.exists(LISTENING))
    except NoPermissionError:
        return False


async def offer(client: Redis, batches: Sequence[Batch]) -> None:
    """Add batches that are committed; what the server refuses, for want of memory say, is not exported."""
    async with client.pipeline(transaction=False) as pipeline:
        for batch in batches:
            pipeline.xadd(EXPORTS, batch._replace(money=b"").fields(), maxlen=MAXLEN, approximate=True)
        try:
            await pipeline.execute()
        except ResponseError as error:
            log.warning("%d batches are not exported: %s", len(batches), error)


class Feed:
    """One exporter's side.

    Args:
        client: its timeout must be longer than ``block_ms`` of `take`.
        consumer: unique among the exporters that run.
        group: exporters of one group share the facts; another group hears all of them again.
    """

    def __init__(self, client: Redis, consumer: str, *, group: str = GROUP) -> None:
        self._client = client
        self._consumer = consumer
        self._group = group
        self._seen: dict[tuple[str, int, int], None] = {}

    async def join(self) -> None:
        """Make the group where it is missing, forget exporters long gone, and be heard of."""
        try:
            await self._client.xgroup_create(EXPORTS, self._group, id="$", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        for consumer in await self._client.xinfo_consumers(EXPORTS, self._group):
            if consumer["pending"] == 0 and consumer["idle"] > FORGET_CONSUMER_S * 1000:
                await self._client.xgroup_delconsumer(EXPORTS, self._group, consumer["name"])
        await self.beat()

    async def beat(self) -> None:
        """Say that this exporter runs."""
        await self._client.set(LISTENING, self._consumer, ex=LISTENING_S)

    async def take(self, block_ms: int | None) -> list[Fact]:
        """Return facts nobody of the group was given yet; they are acknowledged when this returns."""
        reply: Any = await self._client.xreadgroup(
            self._group, self._consumer, {EXPORTS: ">"}, count=TAKEN, block=block_ms
        )
        facts: list[Fact] = []
        for _, entries in reply.items() if isinstance(reply, dict) else reply or ():
            for _, fields in entries:
                facts += self._new(fields or {})
            # A fact that was given to an exporter that died is not told again: Postgres has it.
            await self._client.xack(EXPORTS, self._group, *[identifier for identifier, _ in entries])
        return facts

    async def leave(self) -> None:
        """Forget this consumer; the group stays, for who comes next goes on where it ended."""
        await self._client.xgroup_delconsumer(EXPORTS, self._group, self._consumer)

    def _new(self, fields: Any) -> list[Fact]:
        try:
            batch = Batch.parse(fields)
            facts = _facts.decode(batch.body)
        except (ValueError, msgspec.MsgspecError):
            return []
        place = (batch.ring, batch.generation, batch.start)
        if place in self._seen:
            return []
        self._seen[place] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return facts
