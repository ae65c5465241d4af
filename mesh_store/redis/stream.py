"""The stream of facts: what producers put in, what collectors take out, and the acknowledgement back.

==========================  =========================================================================
``mesh:facts:<shard>``      stream; one entry is one batch: a range of one ring and its facts
``mesh:done:{…}:<ring>``    hash ``<generation>:<start>`` → ``end``: ranges that Postgres has committed
``mesh:reached``            hash shard → the oldest entry that may still be in the stream
``mesh:collector``          hash consumer → what it last did; expires when no collector lives
``mesh:telemetry:lost``     hash of counters: what producers had to drop, for `mesh doctor`
==========================  =========================================================================

On a cluster a ring's ranges lie beside the stream its facts went to: the tag is the stream's name.

Only commands that Redis 6.2 and every Valkey have. Nobody trims the stream: a collector deletes what
it has committed, and producers stop adding when memory runs short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from redis import Redis

from mesh_store.redis.client import doubting, node_of

GROUP = "collectors"
COLLECTORS = "mesh:collector"
LOST = "mesh:telemetry:lost"
REACHED = "mesh:reached"
#: Version of an entry's fields.
BATCH_VERSION = 1
#: Streams that collectors look for; no producer may use more.
MOST_SHARDS = 64
#: How long a range stays acknowledged for a ring that nobody has looked at since.
DONE_TTL_S = 7 * 24 * 3600


def stream_key(shard: int) -> str:
    """Name the stream of a shard."""
    return f"mesh:facts:{shard}"


def done_key(ring: str, stream: str = "mesh:facts:0") -> str:
    """Name the hash of a ring's committed ranges, in the slot of the stream its facts went to."""
    return f"mesh:done:{{{stream}}}:{ring}"


def shard_of(ring: str, shards: int) -> int:
    """Return the shard a ring's facts go to."""
    return crc32(ring.encode()) % shards


class EntryId(NamedTuple):
    """The id of a stream entry; ``(0, 0)`` is none."""

    ms: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"

    @classmethod
    def parse(cls, raw: bytes | str) -> EntryId:
        """Read an id as Redis writes it."""
        text = raw.decode() if isinstance(raw, bytes) else raw
        ms, _, sequence = text.partition("-")
        return cls(int(ms), int(sequence or 0))


#: Before every entry.
NO_ENTRY = EntryId(0, 0)


class Batch(NamedTuple):
    """A range of a ring and what is in it.

    Attributes:
        ring, generation, start, end: the range.
        facts: how many facts ``body`` holds.
        body: one msgpack array of facts.
        money: one msgpack array of what budgets were charged, or nothing.
    """

    ring: str
    generation: int
    start: int
    end: int
    facts: int
    body: bytes
    money: bytes = b""

    def fields(self) -> dict[Any, Any]:
        """Return the fields of the stream entry."""
        fields: dict[Any, Any] = {
            b"v": BATCH_VERSION,
            b"r": self.ring,
            b"g": self.generation,
            b"s": self.start,
            b"e": self.end,
            b"n": self.facts,
            b"b": self.body,
        }
        return fields | {b"m": self.money} if self.money else fields

    @classmethod
    def parse(cls, fields: Mapping[bytes, bytes]) -> Batch:
        """Read the fields of an entry.

        Raises:
            ValueError: when they are not a batch.
        """
        try:
            version, ring = int(fields[b"v"]), fields[b"r"].decode("ascii")
            generation, start, end, facts = (int(fields[name]) for name in (b"g", b"s", b"e", b"n"))
            body = fields[b"b"]
        except (KeyError, ValueError) as error:
            raise ValueError(f"not a batch of facts: {error!r}") from error
        if version != BATCH_VERSION or not 0 <= start <= end:
            raise ValueError(f"not a batch of facts: version {version}, from {start} to {end}")
        return cls(ring, generation, start, end, facts, body, fields.get(b"m", b""))


class ServerState(NamedTuple):
    """What a producer needs to know of the server.

    Attributes:
        fingerprint: changes when the server restarted or another one took over.
        memory_share: used memory over ``maxmemory``; 0.0 when there is no maximum.
        memory: ``maxmemory`` in bytes, of the server where the share is highest; 0 when there is none.
    """

    fingerprint: int
    memory_share: float
    memory: int = 0


class FactStream:
    """The producer's side, on a client that raises on every failure and never retries."""

    def __init__(self, client: Redis, *, shards: int = 1) -> None:
        self._client = client
        self._shards = shards

    def add(self, batch: Batch) -> EntryId:
        """Append a batch and return the entry's id."""
        return EntryId.parse(self._client.xadd(self._stream(batch.ring), batch.fields()))

    def reached(self, ring: str) -> EntryId:
        """Return before which entry a ring's stream holds none any more, as a collector last said.

        A producer may only write into the stream: what others handed in is none of its business.
        """
        said: Any = self._client.hget(REACHED, str(shard_of(ring, self._shards)))
        return NO_ENTRY if said is None else EntryId.parse(said)

    def committed(self, ring: str, generation: int) -> list[tuple[int, int]]:
        """Return the ranges that are in Postgres, in order."""
        raw: Any = self._client.hgetall(done_key(ring, self._stream(ring)))
        prefix = b"%d:" % generation
        return sorted((int(at[len(prefix) :]), int(end)) for at, end in raw.items() if at.startswith(prefix))

    def forget(self, ring: str, generation: int, starts: Sequence[int]) -> None:
        """Drop acknowledgements the ring has taken note of."""
        if starts:
            self._client.hdel(
                done_key(ring, self._stream(ring)), *[f"{generation}:{start}" for start in starts]
            )

    def server(self) -> ServerState:
        """Ask the servers that hold the streams who they are and how full."""
        servers = {id(node): node for node in map(self._holder, range(self._shards))}
        states = []
        for node in servers.values():
            with doubting(self._client, node):
                states.append(_state(node))
        return ServerState(
            crc32(" ".join(identity for identity, *_ in states).encode()) | 1 << 32,
            *max((share, maximum) for _, share, maximum in states),
        )

    def _stream(self, ring: str) -> str:
        return stream_key(shard_of(ring, self._shards))

    def _holder(self, shard: int) -> Redis:
        return node_of(self._client, stream_key(shard))

    def count_lost(self, counts: Mapping[str, int]) -> None:
        """Add to what producers had to drop."""
        with self._client.pipeline(transaction=False) as pipeline:
            for name, count in counts.items():
                if count:
                    pipeline.hincrby(LOST, name, count)
            pipeline.execute()


def _state(server: Redis) -> tuple[str, float, int]:
    """Ask one server for what tells it from others, its share of used memory, and the most it may use."""
    with server.pipeline(transaction=False) as pipeline:
        for section in ("server", "replication", "memory"):
            pipeline.info(section)
        identity, replication, memory = pipeline.execute()
    maximum = int(memory.get("maxmemory") or 0)
    share = int(memory.get("used_memory") or 0) / maximum if maximum else 0.0
    return f"{identity.get('run_id')}/{replication.get('master_replid')}", share, maximum
