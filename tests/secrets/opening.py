"""What a holder of a key can open with all that lies in Redis."""

from __future__ import annotations

import msgspec

from mesh_store.model.errors import SecretError
from mesh_store.model.sealing import KeyHolder
from mesh_store.model.signing import unseal
from mesh_store.model.snapshot import KeyEntry, decode
from mesh_store.redis import config_channel as channel


def document(world):
    """The snapshot as it lies in Redis."""
    return decode(unseal("snapshot", world.redis().get(channel.SNAPSHOT)).body)


def entries(world):
    """Every key entry as it lies in Redis, by digest."""
    client, found = world.redis(), {}
    for name in client.scan_iter(match=channel.KEY.replace("{", "\\{") + "*"):
        key = bytes.fromhex(name.decode().removeprefix(channel.KEY))
        envelope = unseal("key", client.get(name), name=key)
        found[key] = msgspec.msgpack.decode(envelope.body, type=KeyEntry)
    return found


def ids(world):
    """The team's id, and the ids of its provider and of its present data key."""
    [row] = world.query(
        "SELECT t.id::text AS team, p.id::text AS provider, d.id::text AS data_key FROM teams t "
        "JOIN providers p ON p.name = $2 "
        "LEFT JOIN team_data_keys d ON d.team_id = t.id AND d.retired_at IS NULL "
        "WHERE t.name = $1",
        world.team,
        world.name("local"),
    )
    return row


def address(world):
    return f"openai {world.provider.base_url}"


def data_keys_of(world, text, team=None):
    """Every data key that the holder of a key can open with all that lies in Redis."""
    holder, opened = KeyHolder(text), []
    for entry in entries(world).values():
        for sealed in entry.data_keys:
            for claimed in {entry.team, team or entry.team}:
                try:
                    opened.append(holder.open(sealed, claimed))
                except SecretError:
                    continue
    return opened


def secrets_opened(world, data_keys):
    """Every secret in the snapshot that one of the data keys opens."""
    opened = []
    for sealed in document(world).sealed:
        provider, _ = sealed.id.split("/")
        for data_key in data_keys:
            try:
                opened.append((sealed.id, data_key.open(sealed, provider, address(world))))
            except SecretError:
                continue
    return opened


def publish(world):
    return world.run(lambda admin: admin.publish())
