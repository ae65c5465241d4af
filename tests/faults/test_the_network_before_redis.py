"""Between callers and Redis anything may go wrong: every call is answered, in our words, and counted once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mesh_plugins import MeshError
from mesh_plugins.mesh import Mesh
from mesh_store.redis.client import connect
from tests.faults.conftest import LIMITS, Priced
from tests.faults.relay import Relay, Toxics

SEED = 7
#: A call may wait this often for a limit's answer, and a little for a busy machine.
DECISION_S, PATIENCE_S = 0.1, 3.0
CALLS = 10

#: What goes wrong, and whether it is an outage for a decision of `DECISION_S`.
FAULTS = {
    "late": (Toxics(latency_s=0.005, jitter_s=0.02), False),
    "in slices": (Toxics(slice_bytes=3), False),
    "narrow": (Toxics(bytes_per_s=200_000), False),
    "too late": (Toxics(latency_s=0.4), True),
    "unheard": (Toxics(black_hole_down=True), True),
    "swallowed": (Toxics(black_hole_up=True), True),
    "refused": (Toxics(refuse=True), True),
}


def calls_through(mesh: Mesh, priced: Priced, stem: str, between: Callable[[], object] = int) -> list[Any]:
    """Make calls in both colours; returns what each ended in."""
    ended: list[Any] = []

    def note(began: float, what: Any) -> None:
        assert time.monotonic() - began < PATIENCE_S
        ended.append(what)

    async def on_a_loop() -> None:
        for number in range(CALLS // 2):
            between()
            began = time.monotonic()
            try:
                note(began, await mesh.achat(**priced.asked(f"{priced.world.team}-{stem}-a{number}")))
            except MeshError as error:
                note(began, error)

    for number in range(CALLS // 2):
        between()
        began = time.monotonic()
        try:
            note(began, mesh.chat(**priced.asked(f"{priced.world.team}-{stem}-{number}")))
        except MeshError as error:
            note(began, error)
    asyncio.run(on_a_loop())
    return ended


def healed(mesh: Mesh, priced: Priced) -> None:
    """Call until a call is answered again."""
    until = time.monotonic() + 60
    while True:
        try:
            mesh.chat(**priced.asked(f"{priced.world.team}-after"))
        except MeshError:
            assert time.monotonic() < until, "it never recovered"
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_is_answered_and_counted_once(priced: Priced, fault: str) -> None:
    toxics, outage = FAULTS[fault]
    with Relay.to_redis(priced.world.engines.redis_url, seed=SEED) as relay:
        # A decision that is merely slow must not be an outage on a busy machine.
        decision_s = DECISION_S if outage else 5.0
        mesh = priced.world.mesh(redis_url=relay.redis_url, decision_s=decision_s, leases=False)
        mesh.chat(**priced.asked(f"{priced.world.team}-before"))
        relay.toxics = toxics
        if toxics.refuse:
            relay.reset()
        ended = calls_through(mesh, priced, "during")
        relay.toxics = Toxics()
        healed(mesh, priced)
        assert mesh.flush(30)
        mesh.close()
    answered = [reply for reply in ended if not isinstance(reply, MeshError)]
    assert len(answered) == (0 if outage else CALLS)
    assert {type(error).__name__ for error in ended if isinstance(error, MeshError)} <= {"QuotaUnavailable"}
    assert priced.check()["ok"] == len(answered) + 2
    assert mesh.limits_health().admitted_unenforced == 0


def test_connections_that_break_again_and_again_cost_no_call_its_fact(priced: Priced) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    with Relay.to_redis(priced.world.engines.redis_url, seed=SEED) as relay:
        mesh = priced.world.mesh(redis_url=relay.redis_url, leases=False)
        mesh.chat(**priced.asked(f"{priced.world.team}-before"))
        ended = calls_through(mesh, priced, "broken", lambda: chance.random() < 0.5 and relay.reset())
        healed(mesh, priced)
        assert mesh.flush(30)
        mesh.close()
    answered = sum(not isinstance(reply, MeshError) for reply in ended)
    assert priced.check()["ok"] == answered + 2


@pytest.mark.parametrize(
    "seeds", [[SEED], pytest.param(range(200), marks=pytest.mark.full)], ids=["one", "many"]
)
@pytest.mark.timeout(3600)
def test_bytes_that_were_altered_on_the_way_are_an_error_of_ours(
    make_priced: Callable[..., Priced], seeds: Sequence[int]
) -> None:
    """What they did to counters is TLS's promise and not ours; no call hangs and no library's error shows."""
    priced = make_priced(LIMITS[:3])
    team = priced.world.run(lambda admin: admin.get_team(priced.world.team)).id
    for seed in seeds:
        print(f"seed {seed}")
        with Relay.to_redis(priced.world.engines.redis_url, seed=seed) as relay:
            mesh = priced.world.mesh(redis_url=relay.redis_url, decision_s=0.3, leases=False)
            mesh.chat(**priced.asked(f"{priced.world.team}-before-{seed}"))
            relay.toxics = Toxics(corrupt=0.4)
            calls_through(mesh, priced, f"altered-{seed}")
            relay.toxics = Toxics()
            relay.reset()
            # An amount with one bit more may have been charged: only what callers believe has to heal.
            with connect(priced.world.engines.redis_url) as redis:
                redis.delete(*redis.keys(f"{{{team}}}:*"))
            healed(mesh, priced)
            mesh.close(1.0)


def test_who_closes_waits_no_longer_than_was_said(priced: Priced) -> None:
    """What is not shipped then stays in the ring, for whoever drains it: see tests/telemetry."""
    with Relay.to_redis(priced.world.engines.redis_url, seed=SEED) as relay:
        mesh = priced.world.mesh(redis_url=relay.redis_url)
        mesh.chat(**priced.asked(f"{priced.world.team}-before"))
        relay.toxics = Toxics(black_hole_down=True)
        with contextlib.suppress(MeshError):
            mesh.chat(**priced.asked(f"{priced.world.team}-during"))
        began = time.monotonic()
        mesh.close(0.5)
        took = time.monotonic() - began
    assert took < PATIENCE_S, "each part waited for itself"
