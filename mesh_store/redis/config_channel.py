"""How configuration travels through Redis: the names of its keys, its scripts and its reads.

All names share the hash tag ``{cfg}``, so on a cluster they live in one slot and one command sees
them at one moment:

==========================  ====================================================================
``mesh:{cfg}:head``         ``"<epoch> <revision>"`` of the snapshot; a hint, the envelope is truth
``mesh:{cfg}:snapshot``     the sealed document
``mesh:{cfg}:deltas``       stream, id ``<revision>-0``: what one publish changed
``mesh:{cfg}:key:<hex>``    the sealed entry of the key with that digest
``mesh:{cfg}:changed``      stream, id ``<keys revision>-0``: digests whose entry changed
``mesh:{cfg}:complete``     ``"<epoch> <keys revision> <check>"`` up to which every key is there
``mesh:{cfg}:handovers``    msgpack array of `Handover`: publisher's keys that followed one another
``mesh:{cfg}:news``         Pub/Sub channel, a hint: ``keys <place>``, or ``snapshot <place>`` with the
                            sealed delta on the next line
==========================  ====================================================================

Callers need read access to these names, publishers write; `CALLER_RULES` are all a caller needs.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from mesh_store.model.signing import Handover, Place

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

HEAD = "mesh:{cfg}:head"
SNAPSHOT = "mesh:{cfg}:snapshot"
DELTAS = "mesh:{cfg}:deltas"
KEY = "mesh:{cfg}:key:"
CHANGED = "mesh:{cfg}:changed"
COMPLETE = "mesh:{cfg}:complete"
HANDOVERS = "mesh:{cfg}:handovers"
NEWS = "mesh:{cfg}:news"

#: Redis ACL rules (7.0 or newer) of a caller, as far as configuration goes.
CALLER_RULES = (
    "%R~mesh:{cfg}:*",
    "&mesh:{cfg}:news",
    *("+mget", "+get", "+xrange", "+subscribe", "+unsubscribe"),
)

#: A client further behind loads the document; with `MAX_DELTA_BYTES` this bounds the stream at 16 MB.
DELTAS_KEPT = 256
#: A larger delta is not worth keeping: loading the document costs a reader no more.
MAX_DELTA_BYTES = 64 * 1024
#: A longer delta is not told along with the news: most clients would hear it for nothing.
MAX_TOLD_BYTES = 16 * 1024
#: A client further behind forgets the keys it cached.
CHANGES_KEPT = 512
#: More changed digests than this in one batch are told as "all".
MAX_DIGESTS = 256
DIGEST_BYTES = 32


class Heads(NamedTuple):
    """Both revisions as Redis says them, None where it says nothing readable; and handovers."""

    snapshot: Place | None
    keys: Place | None
    handovers: bytes | None


class Delta(NamedTuple):
    """One entry of the delta stream; ``sealed`` is empty when readers must load the document."""

    place: Place
    sealed: bytes


class Change(NamedTuple):
    """Digests that changed after keys revision ``since`` up to ``place``; None means too many to tell."""

    place: Place
    since: int
    digests: tuple[bytes, ...] | None


class News(NamedTuple):
    """What the channel told: what is new, up to where, and perhaps the sealed delta that leads there."""

    kind: Literal["snapshot", "keys"]
    place: Place
    sealed: bytes


class Answer(NamedTuple):
    """What Redis holds of one key, and up to where its keys were complete at that same moment."""

    sealed: bytes | None
    complete: Place | None


def key_name(digest: bytes) -> str:
    """Return the name under which the entry of the key with ``digest`` lies."""
    return KEY + digest.hex()


def parse_place(text: bytes | None) -> Place | None:
    """Read ``"<epoch> <revision>"``; None when it is absent or damaged."""
    if text is None:
        return None
    epoch, _, revision = text.partition(b" ")
    if not epoch or not epoch.isascii() or not revision.isdigit() or len(revision) > 16:
        return None
    return Place(epoch.decode("ascii"), int(revision))


def complete_marker(place: Place) -> bytes:
    """Return the text of the marker that says that keys are complete up to a place, with its check."""
    text = str(place).encode("ascii")
    return text + b" " + hashlib.sha1(text, usedforsecurity=False).hexdigest()[:8].encode("ascii")


def parse_complete(text: bytes | None) -> Place | None:
    """Read `complete_marker`; None when it is absent or damaged."""
    place = None if text is None else parse_place(text.rpartition(b" ")[0])
    return place if place is not None and complete_marker(place) == text else None


def parse_handovers(packed: bytes | None) -> list[Handover]:
    """Read the handovers; none when they are absent or damaged."""
    try:
        return [] if packed is None else msgspec.msgpack.decode(packed, type=list[Handover])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


def parse_news(message: bytes) -> News | None:
    """Read a message of the channel; None when it is not one of ours."""
    line, _, sealed = message.partition(b"\n")
    kind, _, text = line.partition(b" ")
    place = parse_place(text)
    if place is None or kind not in (b"snapshot", b"keys"):
        return None
    return News("snapshot" if kind == b"snapshot" else "keys", place, sealed)


# --- reading, both colours -------------------------------------------------------------------------


def read_heads(redis: Redis) -> Heads:
    """Read both revisions in one command."""
    return _heads(redis.mget(HEAD, COMPLETE, HANDOVERS))


async def aread_heads(redis: AsyncRedis) -> Heads:
    """Read both revisions in one command."""
    return _heads(await redis.mget(HEAD, COMPLETE, HANDOVERS))


async def ahas_snapshot(redis: AsyncRedis) -> bool:
    """Tell whether there is a document at all, whatever the head says."""
    return bool(await redis.exists(SNAPSHOT))


def read_snapshot(redis: Redis) -> bytes | None:
    """Read the sealed document."""
    return _bytes(redis.get(SNAPSHOT))


async def aread_snapshot(redis: AsyncRedis) -> bytes | None:
    """Read the sealed document."""
    return _bytes(await redis.get(SNAPSHOT))


def read_key(redis: Redis, digest: bytes) -> Answer:
    """Read a key's entry, and how complete the keys are, in one command."""
    return _answer(redis.mget(key_name(digest), COMPLETE))


async def aread_key(redis: AsyncRedis, digest: bytes) -> Answer:
    """Read a key's entry, and how complete the keys are, in one command."""
    return _answer(await redis.mget(key_name(digest), COMPLETE))


def read_deltas(redis: Redis, after: Place) -> list[Delta]:
    """Read what was published after a place, oldest first; entries of other epochs are left out."""
    entries = redis.xrange(DELTAS, f"{after.revision + 1}-0", "+")
    deltas = [Delta(place, fields.get(b"delta", b"")) for place, fields in _entries(entries)]
    return [delta for delta in deltas if delta.place.epoch == after.epoch]


def read_changes(redis: Redis, after: Place, until: Place) -> list[Change]:
    """Read which keys changed after a keys revision up to another of the same epoch, oldest first."""
    entries = redis.xrange(CHANGED, f"{after.revision + 1}-0", f"{until.revision}-0")
    return [_change(place, fields) for place, fields in _entries(entries) if place.epoch == until.epoch]


# --- writing: the publisher is async only ----------------------------------------------------------


async def publish_snapshot(
    redis: AsyncRedis, place: Place, sealed: bytes, *, base: Place | None, delta: bytes
) -> str:
    """Put a sealed document there if it is newer; see ``config_publish.lua``.

    Args:
        redis: where to.
        place: its epoch and revision.
        sealed: the document's envelope.
        base: what the delta starts from, or None.
        delta: the delta's envelope; empty when readers must load the document.

    Returns:
        ``published``, ``stale`` or ``moved``.
    """
    start, told = str(base) if base else "", MAX_TOLD_BYTES
    argv = (place.epoch, place.revision, sealed, start, delta, DELTAS_KEPT, NEWS, told)
    reply = await _run(redis, "config_publish", [HEAD, SNAPSHOT, DELTAS], argv)
    return bytes(reply).decode("ascii")


async def publish_keys(
    redis: AsyncRedis, epoch: str, since: int, revision: int, entries: Sequence[tuple[bytes, bytes]]
) -> int:
    """Write sealed entries by digest, each if it is newer, and append the digests to the list.

    Returns:
        How many were written.
    """
    told = b"".join(digest for digest, _ in entries) if len(entries) <= MAX_DIGESTS else b"*"
    names = [CHANGED, *(key_name(digest) for digest, _ in entries)]
    argv = (epoch, since, revision, told, CHANGES_KEPT, *(sealed for _, sealed in entries))
    return int(await _run(redis, "config_keys", names, argv))


async def publish_complete(redis: AsyncRedis, place: Place) -> bool:
    """Say that every key up to a keys revision is there; False when that was said already."""
    argv = (place.epoch, place.revision, NEWS)
    return bool(await _run(redis, "config_complete", [COMPLETE], argv))


async def publish_handovers(redis: AsyncRedis, handovers: Sequence[Handover]) -> None:
    """Let callers who believe an earlier publisher's key follow to the present one.

    Args:
        redis: where to.
        handovers: all of them, oldest first, in place of what is there.
    """
    await redis.set(HANDOVERS, msgspec.msgpack.encode(list(handovers)))


# --- what both colours share -----------------------------------------------------------------------


async def _run(redis: AsyncRedis, name: str, keys: Sequence[str], argv: Sequence[Any]) -> Any:
    # Sent whole every time: what is published is larger, and no server has to know it beforehand.
    reply: Any = redis.eval(_script(name), len(keys), *keys, *argv)
    return await reply


@functools.cache
def _script(name: str) -> str:
    folder = resources.files("mesh_store.redis").joinpath("scripts")
    return "\n".join(
        folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("config_order", name)
    )


def _heads(reply: Sequence[Any]) -> Heads:
    return Heads(parse_place(_bytes(reply[0])), parse_complete(_bytes(reply[1])), _bytes(reply[2]))


def _answer(reply: Sequence[Any]) -> Answer:
    return Answer(_bytes(reply[0]), parse_complete(_bytes(reply[1])))


def _bytes(reply: Any) -> bytes | None:
    return reply if isinstance(reply, bytes) else None


def _entries(reply: Any) -> Iterable[tuple[Place, dict[bytes, bytes]]]:
    for entry_id, fields in reply:
        epoch = fields.get(b"epoch", b"").decode("ascii", "replace")
        yield Place(epoch, int(entry_id.partition(b"-")[0])), fields


def _change(place: Place, fields: dict[bytes, bytes]) -> Change:
    told, since = fields.get(b"digests", b"*"), fields.get(b"since", b"")
    if told == b"*" or len(told) % DIGEST_BYTES or not since.isdigit():
        return Change(place, int(since) if since.isdigit() else 0, None)
    digests = tuple(told[i : i + DIGEST_BYTES] for i in range(0, len(told), DIGEST_BYTES))
    return Change(place, int(since), digests)
