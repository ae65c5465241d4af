"""Whether callers have what the database says, and since when not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from mesh_plugins.cli.checks.finding import Finding, ago

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from mesh_store.postgres import Database, Head
    from mesh_store.redis.config_channel import Heads

#: Seconds a change may take to be published before somebody should look.
LATE_S = 10.0
_PUBLISH = "run `mesh serve` or `mesh collect`, which publish"
_RESTORED = "if the database was restored from a backup: `mesh migrate --restored`"


async def published(
    database: Database, redis: Redis, believed: Mapping[str, bytes] = MappingProxyType({})
) -> list[Finding]:
    """Compare the order of changes in Postgres with what Redis holds.

    Args:
        database: the truth.
        redis: where callers read it.
        believed: publishers' public keys, by the variable of this environment that names them.
    """
    from mesh_store.redis.config_channel import aread_heads, aread_snapshot

    head, there = await database.head(), await aread_heads(redis)
    findings = [await _snapshot(database, head, there), _keys(head, there)]
    if there.snapshot is not None:
        findings += _document(await aread_snapshot(redis), believed)
    return findings


async def _snapshot(database: Database, head: Head, there: Heads) -> Finding:
    from mesh_store.model.signing import Place
    from mesh_store.postgres.examining import waiting_since

    want = Place(head.epoch, head.revision)
    if there.snapshot is not None and there.snapshot > want:
        return Finding("failed", "configuration", _ahead("revision", there.snapshot, want), _RESTORED)
    if there.snapshot == want:
        return Finding("fine", "configuration", f"revision {want.revision} is published")
    of_this_epoch = there.snapshot is not None and there.snapshot.epoch == want.epoch
    have = there.snapshot.revision if there.snapshot is not None and of_this_epoch else 0
    since = await waiting_since(database, have)
    age = None if since is None else datetime.now(UTC) - since
    found = f"callers have {f'revision {have}' if have else 'nothing'}, Postgres is at {want.revision}"
    if age is None:
        return Finding("fine" if want.revision == 0 else "warning", "configuration", found, _PUBLISH)
    late = age.total_seconds() > LATE_S
    return Finding("failed" if late else "warning", "configuration", f"{found} since {ago(age)}", _PUBLISH)


def _keys(head: Head, there: Heads) -> Finding:
    from mesh_store.model.signing import Place

    want = Place(head.epoch, head.keys_revision)
    if there.keys is not None and there.keys > want:
        return Finding("failed", "keys", _ahead("keys revision", there.keys, want), _RESTORED)
    if there.keys == want or (there.keys is None and want.revision == 0):
        return Finding("fine", "keys", f"complete up to {want.revision}")
    have = 0 if there.keys is None or there.keys.epoch != want.epoch else there.keys.revision
    return Finding(
        "warning", "keys", f"callers know them up to {have}, Postgres is at {want.revision}", _PUBLISH
    )


def _document(sealed: bytes | None, believed: Mapping[str, bytes]) -> list[Finding]:
    from mesh_store.model.errors import ConfigError
    from mesh_store.model.signing import unseal
    from mesh_store.model.snapshot import decode

    if sealed is None:
        return [Finding("failed", "snapshot", "Redis names a revision, but holds no document", _PUBLISH)]
    try:
        envelope = unseal("snapshot", sealed)
        document = decode(envelope.body)
    except ConfigError as error:
        return [Finding("failed", "snapshot", f"it cannot be read: {error}", _PUBLISH)]
    age = ago(datetime.now(UTC) - datetime.fromtimestamp(document.compiled_at_us / 1e6, UTC))
    said = f"{len(sealed) / 1024:.0f} KiB, compiled {age} ago"
    if envelope.publisher is None:
        fix = "set MESH_SECRET_KEY where it is published: `mesh serve`, `mesh collect` and commands"
        return [Finding("warning", "snapshot", f"{said}, not signed: who writes to Redis decides", fix)]
    said = f"{said}, signed by {envelope.publisher.hex()}"
    for variable, publisher in believed.items():
        if publisher != envelope.publisher:
            fix = f"give {variable} the publisher's, or find out who else publishes there"
            return [
                Finding("failed", "snapshot", f"{said}, but {variable} stands for {publisher.hex()}", fix)
            ]
    return [Finding("fine", "snapshot", said)]


def _ahead(word: str, there: object, want: object) -> str:
    return f"Redis is ahead of Postgres: {word} {there}, not {want}"
