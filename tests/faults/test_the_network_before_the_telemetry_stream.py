"""Facts may live on a server of their own; whatever goes wrong before it, no call waits, and all arrives."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mesh_plugins.mesh import Mesh
from mesh_store.telemetry.collector import Collector
from tests.faults.conftest import Priced
from tests.faults.relay import Relay, Toxics

SEED = 19
CALLS = 10
#: For all that has to arrive, on a busy machine.
PATIENCE_S = 90

FAULTS = {
    "late": Toxics(latency_s=0.02, jitter_s=0.1),
    "in slices": Toxics(slice_bytes=7),
    "narrow": Toxics(bytes_per_s=20_000),
    "unheard": Toxics(black_hole_down=True),
    "swallowed": Toxics(black_hole_up=True),
    "refused": Toxics(refuse=True),
}


@pytest.fixture
def relay(priced: Priced) -> Iterator[Relay]:
    with Relay.to_redis(priced.world.engines.redis_url, seed=SEED) as relay:
        yield relay


@contextmanager
def collecting(priced: Priced, relay: Relay) -> Iterator[None]:
    """Collect through the relay until the end, as ``mesh collect`` does."""
    over, engines = threading.Event(), priced.world.engines

    async def through() -> None:
        stop = asyncio.Event()
        collector = Collector(
            engines.database_url,
            relay.redis_url,
            priced.world.home,
            settle_redis_url=engines.redis_url,
            claim_s=1,
        )
        running = asyncio.create_task(collector.run(stop))
        await asyncio.to_thread(over.wait)
        stop.set()
        await running
        await collector.close()

    thread = threading.Thread(target=asyncio.run, args=(through(),))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_S)


def call(mesh: Mesh, priced: Priced, stem: str, between: Callable[[], object] = int) -> None:
    """Make calls in both colours; every one is answered: nobody waits for where facts go."""

    async def on_a_loop() -> None:
        for number in range(CALLS // 2):
            between()
            await mesh.achat(**priced.asked(f"{priced.world.team}-{stem}-a{number}"))

    for number in range(CALLS // 2):
        between()
        mesh.chat(**priced.asked(f"{priced.world.team}-{stem}-{number}"))
    asyncio.run(on_a_loop())


@pytest.mark.parametrize("fault", FAULTS)
def test_calls_are_answered_and_every_fact_arrives_once(priced: Priced, relay: Relay, fault: str) -> None:
    mesh = priced.world.mesh(telemetry_redis_url=relay.redis_url)
    with collecting(priced, relay):
        call(mesh, priced, "before")
        relay.toxics = FAULTS[fault]
        if relay.toxics.refuse:
            relay.reset()
        call(mesh, priced, "during")
        relay.toxics = Toxics()
        if fault in ("unheard", "swallowed"):
            relay.reset()  # what was swallowed stays missing in the middle
        call(mesh, priced, "after")
        assert mesh.flush(PATIENCE_S, collected=True)
        mesh.close()
    assert priced.check() == {"ok": 3 * CALLS}


def test_connections_that_break_again_and_again_lose_and_double_no_fact(priced: Priced, relay: Relay) -> None:
    print(f"seed {SEED}")
    chance, mesh = random.Random(SEED), priced.world.mesh(telemetry_redis_url=relay.redis_url)
    with collecting(priced, relay):
        call(mesh, priced, "broken", lambda: chance.random() < 0.5 and relay.reset())
        for _ in range(20):
            threading.Event().wait(chance.uniform(0.02, 0.2))  # a chance to get through, or half way
            relay.reset()
        assert mesh.flush(PATIENCE_S, collected=True)
        mesh.close()
    assert priced.check() == {"ok": CALLS}
