"""In what order targets are tried: a canary for its share, then by tier, by weight within a tier."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from operator import attrgetter

from mesh_plugins.core.call import CallRequest
from mesh_plugins.markers import hookimpl
from mesh_store.model.shares import WHOLE
from mesh_store.model.snapshot import Snapshot, Target

_DRAWS = 2**64
_tier = attrgetter("tier")


class Ordering:
    """Orders by canary, tier and a weighted draw; a session always draws the same."""

    @hookimpl(trylast=True)
    def mesh_order_targets(
        self, request: CallRequest, targets: Sequence[Target], snapshot: Snapshot
    ) -> Sequence[Target]:
        """Draw each tier's order with probability proportional to the weights.

        A target of weight 0 is tried only after the others of its tier. Weighted sampling without
        replacement by exponential keys (Efraimidis and Spirakis 2006). A canary is first for exactly its
        share of the calls, with the others behind it, and is not there at all for the rest of them.
        """
        if len(targets) == 1:
            return targets
        ordinary = [target for target in targets if not target.canary]
        if len(ordinary) == len(targets) == len({target.tier for target in targets}):
            return sorted(targets, key=_tier)  # nothing to draw: one target a tier

        def place(target: Target) -> tuple[int, bool, float]:
            draw = (_draw(request.session, target.id) + 1) / (_DRAWS + 2)
            return (target.tier, target.weight == 0, -(draw ** (1 / max(target.weight, 1e-9))))

        ordered = sorted(ordinary, key=place)
        if len(ordinary) == len(targets):
            return ordered
        canary = _canary(request, targets)
        return ordered if canary is None else [canary, *ordered]


def _canary(request: CallRequest, targets: Sequence[Target]) -> Target | None:
    """Return the canary a call goes to first, or None.

    Sticky by session, else by the end user, else by the key's user, so that who is on one side stays there,
    also while the share grows; calls that name nobody are drawn one by one. Each canary has a draw of its
    own, out of what the ones before it left, so that one more takes nothing from those.
    """
    caller = request.session or request.end_user or request.principal.user
    left = WHOLE
    for target in targets:
        if target.canary:
            if _draw(caller, f"canary {target.id}") * left < target.canary * _DRAWS:
                return target
            left -= target.canary
    return None


def _draw(caller: str | None, salt: str) -> int:
    """Return 64 bits, the same for the same caller."""
    if caller is None:
        return random.getrandbits(64)
    # Rendezvous hashing: adding or removing a target moves only that target's share of sessions.
    digest = hashlib.blake2b(f"{caller}\x00{salt}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest)
