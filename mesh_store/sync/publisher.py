"""Postgres to Redis: any process may publish, at any time, as often as it likes.

Every write says "only if newer", so publishers never undo each other, and one that dies anywhere
leaves a state the next one completes. The order is what callers rest on: the document is compiled
first, then every key at least as new as it is written, then the marker that says so, then the
document. A document therefore never names something that the entries beside it do not know yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mesh_store.model.errors import ConfigError
from mesh_store.model.signing import Place, Signer, seal, unseal
from mesh_store.model.snapshot import KeyEntry, SnapshotDocument, decode, encode
from mesh_store.redis import config_channel as channel
from mesh_store.sync.delta import difference, encode_delta, place_of
from mesh_store.sync.opening import open_budgets
from mesh_store.sync.source import ConfigSource, HandingSource, SealingSource, VouchingSource

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

#: How many keys are read from the source at once.
PAGE = 1_000
#: How often a publish starts again because another publisher came in between.
ATTEMPTS = 5

#: Opens whatever tells of commits (LISTEN) and calls the given function for each, until it is left.
Listen = Callable[[Callable[[], None]], AbstractAsyncContextManager[None]]


class Published(NamedTuple):
    """Where Redis stands after a publish.

    Attributes:
        epoch, revision: of the document there.
        keys_revision: up to which every key is there.
        keys_written: how many entries this publish wrote.
        redis_ahead: True when Redis is ahead of the database, which only a restored database
            explains: ``mesh migrate --restored`` starts the new epoch.
    """

    epoch: str
    revision: int
    keys_revision: int
    keys_written: int
    redis_ahead: bool = False


async def publish(source: ConfigSource, redis: Redis, *, signer: Signer | None = None) -> Published:
    """Bring Redis up to the source; nothing is written when it is there already.

    Args:
        source: the database.
        redis: where to.
        signer: signs what is written, or None where nothing is signed.

    Raises:
        ConfigError: what is there is signed, and there is no signer here, or one that was followed by
            another: callers would refuse what this process writes, so it must leave publishing to one
            that holds MESH_SECRET_KEY.
    """
    written = 0
    if isinstance(source, SealingSource):
        await source.prepare(None if signer is None else signer.master)
    for attempt in range(ATTEMPTS):
        before, head = await channel.aread_heads(redis), await source.head()
        document = None
        newest = Place(head.epoch, head.revision)
        if before.snapshot is None or before.snapshot < newest or not await channel.ahas_snapshot(redis):
            document = await source.compile_snapshot()
            head = await source.head()
        keys = Place(head.epoch, head.keys_revision)
        if document is None and before.snapshot == newest and before.keys == keys:
            return Published(head.epoch, head.revision, head.keys_revision, written)
        if document is None and before.keys is not None and before.keys >= keys:
            break
        await _hand_over(source, redis, signer, before)
        there = await _readable(redis, signer)
        if before.keys is None or before.keys < keys:
            written += await _publish_keys(source, redis, signer, before.keys, keys)
        if document is None:
            break
        await open_budgets(source, redis)
        base = there if attempt + 1 < ATTEMPTS else None
        if await _publish_document(redis, signer, base, document):
            break
    return await _published(source, redis, written)


async def watch_and_publish(
    source: ConfigSource,
    redis: Redis,
    stop: asyncio.Event,
    *,
    signer: Signer | None = None,
    listen: Listen | None = None,
    poll_s: float = 1.0,
    renewed: Callable[[], Signer | None] | None = None,
) -> None:
    """Publish now, on every commit that is heard of, and every ``poll_s`` seconds, until ``stop``.

    A failing publish is logged and tried again, with the signer that ``renewed`` tells of, if given: its
    key may have been changed meanwhile. Hearing of commits only makes it faster.
    """
    heard = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        if listen is not None:
            await stack.enter_async_context(listen(heard.set))
        stopped = stack.enter_context(_cancelled_at_exit(asyncio.create_task(stop.wait())))
        while not stop.is_set():
            heard.clear()
            try:
                await publish(source, redis, signer=signer)
            except Exception:
                log.warning("configuration could not be published; trying again", exc_info=True)
                signer = signer if renewed is None else renewed()
            waiting = asyncio.create_task(heard.wait())
            await asyncio.wait((stopped, waiting), timeout=poll_s, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()


async def _hand_over(
    source: ConfigSource, redis: Redis, signer: Signer | None, before: channel.Heads
) -> None:
    """Tell callers which publisher's key followed which, before they see what the last one signed.

    Read after everything that is about to be published: whoever was followed by another key has to stop.
    """
    handovers = await source.handovers() if isinstance(source, HandingSource) else ()
    if not handovers:
        return
    if signer is not None and signer.public != handovers[-1].new:
        raise ConfigError(
            f"the publisher {signer.public.hex()} was followed by {handovers[-1].new.hex()}: set the new "
            "MESH_SECRET_KEY here, and restart what still runs with the old one"
        )
    if list(handovers) != channel.parse_handovers(before.handovers):
        await channel.publish_handovers(redis, handovers)


async def _readable(redis: Redis, signer: Signer | None) -> SnapshotDocument | None:
    sealed = await channel.aread_snapshot(redis)
    if sealed is None:
        return None
    try:
        envelope = unseal("snapshot", sealed)
        document = await asyncio.to_thread(decode, envelope.body)
    except ConfigError as error:
        log.warning("the configuration in Redis will be replaced without a delta: %s", error)
        return None
    if envelope.publisher is not None and signer is None:
        raise ConfigError("the configuration is signed: publishing needs MESH_SECRET_KEY")
    return document


async def _publish_keys(
    source: ConfigSource, redis: Redis, signer: Signer | None, complete: Place | None, goal: Place
) -> int:
    # Entries of an older epoch count for nothing: then every key is written again.
    since = complete.revision if complete is not None and complete.epoch == goal.epoch else 0
    written = 0
    while since < goal.revision:
        page = await source.keys_since(since, PAGE)
        if not page.entries:
            break
        if page.revision <= since:
            raise ConfigError(f"the source told of keys after revision {since} that are not after it")
        await open_budgets(source, redis)
        digests = [digest for digest, _ in page.entries]
        secrets = await source.trust_secrets(digests) if isinstance(source, VouchingSource) else {}
        sealed = await asyncio.to_thread(_sealed_entries, goal.epoch, page.entries, signer, secrets)
        written += await channel.publish_keys(redis, goal.epoch, since, page.revision, sealed)
        since = page.revision
    await channel.publish_complete(redis, Place(goal.epoch, max(since, goal.revision)))
    return written


def _sealed_entries(
    epoch: str,
    entries: Sequence[tuple[bytes, KeyEntry]],
    signer: Signer | None,
    secrets: Mapping[bytes, bytes],
) -> list[tuple[bytes, bytes]]:
    sealed = []
    for digest, entry in entries:
        place, body = Place(epoch, entry.revision), msgspec.msgpack.encode(entry)
        envelope = seal("key", place, body, name=digest, signer=signer, trust=secrets.get(digest))
        sealed.append((digest, envelope))
    return sealed


async def _publish_document(
    redis: Redis, signer: Signer | None, there: SnapshotDocument | None, document: SnapshotDocument
) -> bool:
    sealed, delta = await asyncio.to_thread(_sealed_document, there, document, signer)
    base = place_of(there) if there is not None and delta else None
    done = await channel.publish_snapshot(redis, place_of(document), sealed, base=base, delta=delta)
    return done != "moved"


def _sealed_document(
    there: SnapshotDocument | None, document: SnapshotDocument, signer: Signer | None
) -> tuple[bytes, bytes]:
    place = place_of(document)
    sealed = seal("snapshot", place, encode(document), signer=signer)
    delta = None if there is None else difference(there, document)
    if delta is None:
        return sealed, b""
    sealed_delta = seal("delta", place, encode_delta(delta), signer=signer)
    return sealed, sealed_delta if len(sealed_delta) <= channel.MAX_DELTA_BYTES else b""


async def _published(source: ConfigSource, redis: Redis, written: int) -> Published:
    there, head = await channel.aread_heads(redis), await source.head()
    snapshot = there.snapshot or Place(head.epoch, 0)
    keys = there.keys or Place(head.epoch, 0)
    ahead = snapshot > Place(head.epoch, head.revision) or keys > Place(head.epoch, head.keys_revision)
    if ahead:
        log.error(
            "Redis holds revision %s, the database only %s: if the database was restored from a backup, "
            "run `mesh migrate --restored`",
            snapshot,
            Place(head.epoch, head.revision),
        )
    return Published(snapshot.epoch, snapshot.revision, keys.revision, written, redis_ahead=ahead)


@contextlib.contextmanager
def _cancelled_at_exit(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any]]:
    try:
        yield task
    finally:
        task.cancel()
