"""Looking at facts as they pass, beside the collectors and without taking anything from them.

A reader outside the group hears every entry while it keeps up; an entry that was committed and
deleted before the next read is missed. So this is for looking, never for counting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from redis.asyncio import Redis

from mesh_store.model.facts import Fact
from mesh_store.redis.servers.cluster_async import AsyncCluster
from mesh_store.redis.stream import Batch
from mesh_store.redis.stream_reader import streams_of

#: Milliseconds one read waits; shorter than the client's own deadline.
BLOCK_MS = 2_000
#: The same where each stream is waited for by itself, and the quick ones wait for the slow.
APART_MS = 200
#: The last entry seen of each stream.
Places = dict[str, Any]
_facts = msgspec.msgpack.Decoder(list[Fact])


async def newest(client: Redis) -> Places:
    """Return where the streams stand; nothing that is sent to them after this returned is skipped."""
    places: Places = {}
    for stream in await streams_of(client):
        found: Any = await client.xrevrange(stream, count=1)
        places[stream] = found[0][0] if found else "0-0"
    return places


async def passing(client: Redis, places: Places) -> AsyncIterator[Fact]:
    """Yield the facts that were sent after ``places``, as long as anybody asks; moves ``places``."""
    while True:
        for stream, entries in await _read(client, places):
            name = stream.decode() if isinstance(stream, bytes) else stream
            for identifier, fields in entries:
                places[name] = identifier
                for fact in _decoded(fields):
                    yield fact


async def _read(client: Redis, places: Places) -> list[Any]:
    if len(places) > 1 and isinstance(client, AsyncCluster):
        # Streams of several servers cannot be waited for in one command.
        parts = [client.xread({name: after}, count=64, block=APART_MS) for name, after in places.items()]
        return [pair for reply in await asyncio.gather(*parts) for pair in _pairs(reply)]
    asked: dict[Any, Any] = dict(places)
    return _pairs(await client.xread(asked, count=64, block=BLOCK_MS))


def _pairs(reply: Any) -> list[Any]:
    return list(reply.items() if isinstance(reply, dict) else reply or ())


def _decoded(fields: Any) -> list[Fact]:
    """Return the facts of an entry; one that cannot be read is the collectors' to bury."""
    try:
        return _facts.decode(Batch.parse(fields).body)
    except (ValueError, msgspec.MsgspecError):
        return []
