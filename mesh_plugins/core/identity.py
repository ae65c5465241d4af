"""Who is calling: from a key's text to its entry, with one answer for every way to be wrong.

Unknown, wrong, revoked and expired keys answer alike, so that nobody can probe which it was; the
reason is in the audit log.
"""

from __future__ import annotations

from functools import lru_cache

from mesh_plugins.core.ports import ConfigPort
from mesh_store.model import keys
from mesh_store.model.errors import InvalidKey
from mesh_store.model.ids import now_us
from mesh_store.model.sealing import KeyHolder
from mesh_store.model.snapshot import KeyEntry


def principal(config: ConfigPort, key: str | None) -> tuple[KeyEntry, KeyHolder]:
    """Return the entry of a caller's key, and the key as what it opens.

    Raises:
        InvalidKey: there is no key, or it is not accepted.
        ConfigUnavailable: it could not be looked up.
    """
    holder = _holder(key)
    return _checked(config.lookup(holder.digest)), holder


async def aprincipal(config: ConfigPort, key: str | None) -> tuple[KeyEntry, KeyHolder]:
    """Like `principal`, on the caller's event loop."""
    holder = _holder(key)
    return _checked(await config.alookup(holder.digest)), holder


def _holder(key: str | None) -> KeyHolder:
    if not key:
        raise InvalidKey("no key: set MESH_KEY, or pass key=; an operator makes one with 'mesh key create'")
    return _well_formed(key)


@lru_cache(maxsize=256)
def _well_formed(key: str) -> KeyHolder:
    """Return a key as what it opens; kept, because one key calls again and again."""
    keys.parse(key)
    return KeyHolder(key)


def _checked(entry: KeyEntry | None) -> KeyEntry:
    expired = entry is not None and entry.expires_at_us is not None and entry.expires_at_us <= now_us()
    if entry is None or entry.revoked or expired:
        raise InvalidKey(
            "this key is not accepted: it is unknown, revoked or expired; ask an operator for a new one"
        )
    return entry
