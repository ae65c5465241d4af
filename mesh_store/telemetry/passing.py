"""Looking at facts as they pass, beside the collectors and without taking anything from them.

A reader outside the group hears every entry while it keeps up; an entry that was committed and
deleted before the next read is missed. So this is for looking, never for counting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from redis.asyncio import Redis

from mesh_store.model.facts import Fact
from mesh_store.redis.stream import Batch, stream_key

#: Milliseconds one read waits; shorter than the client's own deadline.
BLOCK_MS = 2_000
#: The last entry seen of each stream.
Places = dict[str, Any]
_facts = msgspec.msgpack.Decoder(list[Fact])


async def newest(client: Redis, *, shards: int = 1) -> Places:
    """Return where the streams stand; nothing that is sent after this returned is skipped."""
    places: Places = {}
    for shard in range(shards):
        found: Any = await client.xrevrange(stream_key(shard), count=1)
        places[stream_key(shard)] = found[0][0] if found else "0-0"
    return places


async def passing(client: Redis, places: Places) -> AsyncIterator[Fact]:
    """Yield the facts that were sent after ``places``, as long as anybody asks; moves ``places``."""
    while True:
        asked: dict[Any, Any] = dict(places)
        reply: Any = await client.xread(asked, count=64, block=BLOCK_MS)
        for stream, entries in reply.items() if isinstance(reply, dict) else reply or ():
            name = stream.decode() if isinstance(stream, bytes) else stream
            for identifier, fields in entries:
                places[name] = identifier
                for fact in _decoded(fields):
                    yield fact


def _decoded(fields: Any) -> list[Fact]:
    """Return the facts of an entry; one that cannot be read is the collectors' to bury."""
    try:
        return _facts.decode(Batch.parse(fields).body)
    except (ValueError, msgspec.MsgspecError):
        return []
