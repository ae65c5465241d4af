"""In what order targets are tried: by tier, by weight within a tier, those that just failed last."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from mesh_plugins.core.call import CallRequest
from mesh_plugins.markers import hookimpl
from mesh_store.model.snapshot import Snapshot, Target


class Ordering:
    """Orders by tier, then by a weighted draw; a session always draws the same."""

    @hookimpl(trylast=True)
    def mesh_order_targets(
        self, request: CallRequest, targets: Sequence[Target], snapshot: Snapshot
    ) -> Sequence[Target]:
        """Draw each tier's order with probability proportional to the weights.

        A target of weight 0 is tried only after the others of its tier. Weighted sampling without
        replacement by exponential keys (Efraimidis and Spirakis 2006).
        """
        if len(targets) == 1:
            return targets

        def place(target: Target) -> tuple[int, bool, float]:
            draw = _draw(request.session, target.id)
            return (target.tier, target.weight == 0, -(draw ** (1 / max(target.weight, 1e-9))))

        return sorted(targets, key=place)


def _draw(session: str | None, target_id: str) -> float:
    if session is None:
        return random.random()
    # Rendezvous hashing: adding or removing a target moves only that target's share of sessions.
    digest = hashlib.blake2b(f"{session}\x00{target_id}".encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / (2**64 + 2)
