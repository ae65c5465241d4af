"""With Redis away a process lets go within a second: every wait of its end is under one deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest

from mesh_plugins import MeshError
from mesh_plugins.connections import AWAY_S
from tests.faults.conftest import Priced
from tests.faults.relay import Relay, Toxics

AWAY = {
    "refused": Toxics(refuse=True),
    "swallowed": Toxics(black_hole_up=True),
    "unheard": Toxics(black_hole_down=True),
}
#: A busy machine may hold up each of a few steps.
BUSY_S = 1.0


def closed_under_watch(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Close; returns, for each wait for a thread of ours, when it would have given up."""
    ends: list[float] = []
    join = threading.Thread.join
    began = time.monotonic()

    def watched(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("mesh-"):
            ends.append(float("inf") if timeout is None else time.monotonic() + timeout - began)
        join(thread, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", watched)
        mesh.close()
    return [*ends, time.monotonic() - began]


@pytest.mark.parametrize("away", AWAY)
def test_no_wait_of_a_close_outlasts_its_one_deadline(
    priced: Priced, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    with Relay.to_redis(priced.world.engines.redis_url) as relay:
        mesh = priced.world.mesh(redis_url=relay.redis_url)
        mesh.chat(**priced.asked(f"{priced.world.team}-before"))
        relay.toxics = AWAY[away]
        if relay.toxics.refuse:
            relay.reset()
        with contextlib.suppress(MeshError):
            mesh.chat(**priced.asked(f"{priced.world.team}-during"))
        ends = closed_under_watch(mesh, monkeypatch)
        assert len(ends) > 3, "the shipper, the follower and the beat were waited for"
        assert max(ends) < AWAY_S + BUSY_S
        relay.toxics = Toxics()
