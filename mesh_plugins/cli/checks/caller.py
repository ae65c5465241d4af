"""The key of this environment, as a caller learns of it."""

from __future__ import annotations

import time
from datetime import timedelta

from mesh_plugins.cli.checks.finding import Finding, ago
from mesh_plugins.cli.control import Place
from mesh_store.model.errors import MeshError

#: A key that ends within this many seconds is worth a word.
SOON_S = 7 * 86_400.0


def key(found: Place) -> Finding:
    """Tell whether MESH_KEY would be accepted."""
    from mesh_plugins.connections import trust_of
    from mesh_store.model.keys import digest, parse
    from mesh_store.sync import Subscriber

    secret = found.settings.key
    if secret is None:
        return Finding("fine", "key", "MESH_KEY is not set here")
    fix = "ask for a new one: `mesh key create`"
    try:
        key_id = parse(secret.get_secret_value())
        with Subscriber(found.redis_url, trust=trust_of(found.settings)) as subscriber:
            entry = subscriber.keys.lookup(digest(secret.get_secret_value()))
    except MeshError as error:
        return Finding("failed", "key", str(error), fix)
    left = None if entry is None or entry.expires_at_us is None else entry.expires_at_us / 1e6 - time.time()
    if entry is None or entry.revoked or (left is not None and left <= 0):
        return Finding("failed", "key", f"{key_id} is not accepted: unknown, revoked or expired", fix)
    if left is not None and left < SOON_S:
        return Finding(
            "warning", "key", f"{key_id} ends in {ago(timedelta(seconds=left))}", "run `mesh key rotate`"
        )
    return Finding("fine", "key", f"{key_id} is known")
