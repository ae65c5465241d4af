"""Between callers and a provider anything may go wrong: callers are told, and each attempt is one fact."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mesh_plugins import ProviderError
from mesh_plugins.mesh import Mesh
from tests.faults.conftest import Priced
from tests.faults.relay import Relay, Toxics

SEED = 11
CALLS = 4

#: What goes wrong, and what calls end in when they end badly.
FAULTS = {
    "late": (Toxics(latency_s=0.01, jitter_s=0.02), set()),
    "in slices": (Toxics(slice_bytes=7), set()),
    "narrow": (Toxics(bytes_per_s=50_000), set()),
    "unheard": (Toxics(black_hole_down=True), {"timeout"}),
    "swallowed": (Toxics(black_hole_up=True), {"timeout"}),
    "refused": (Toxics(refuse=True), {"connect", "protocol", "incomplete"}),
}


@pytest.fixture
def relay(stand_in: Any) -> Iterator[Relay]:
    with Relay(stand_in.origin.replace("http", "tcp"), seed=SEED) as relay:
        yield relay


@pytest.fixture
def far(relay: Relay, make_priced: Callable[..., Priced]) -> Priced:
    """A team whose provider is behind the relay."""
    return make_priced(base_url=f"http://127.0.0.1:{relay.port}/v1")


def calls_through(mesh: Mesh, priced: Priced, timeout_s: float) -> Counter[str]:
    """Make calls and streams in both colours at once; returns how they ended, ``ok`` or the error's kind."""
    ended: Counter[str] = Counter()

    def asked(name: str) -> dict[str, Any]:
        return priced.asked(f"{priced.world.team}-{name}") | {"timeout_s": timeout_s}

    @contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
            ended["ok"] += 1
        except Exception as error:
            ended[kind_of(error)] += 1

    def in_a_thread(number: int) -> None:
        with noted():
            mesh.chat(**asked(f"t{number}"))
        with noted():
            list(mesh.stream(**asked(f"ts{number}")))

    async def on_a_loop(number: int) -> None:
        with noted():
            await mesh.achat(**asked(f"l{number}"))
        with noted():
            _ = [chunk async for chunk in await mesh.astream(**asked(f"ls{number}"))]

    async def all_of_a_loop() -> None:
        await asyncio.gather(*[on_a_loop(number) for number in range(CALLS)])

    threads = [threading.Thread(target=in_a_thread, args=(number,)) for number in range(CALLS)]
    for thread in threads:
        thread.start()
    asyncio.run(all_of_a_loop())
    for thread in threads:
        thread.join()
    assert ended.total() == 4 * CALLS
    return ended


def kind_of(error: Exception) -> str:
    """Return what a caller was told; what is no error of ours by its type."""
    return error.kind if isinstance(error, ProviderError) else repr(error)


@pytest.mark.parametrize("fault", FAULTS)
def test_callers_are_told_and_every_attempt_is_a_fact(relay: Relay, far: Priced, fault: str) -> None:
    toxics, kinds = FAULTS[fault]
    mesh = far.world.mesh()
    mesh.chat(**far.asked(f"{far.world.team}-before"))
    relay.toxics = toxics
    relay.reset()
    ended = calls_through(mesh, far, 1.0 if kinds else 30.0)
    relay.toxics = Toxics()
    relay.reset()
    mesh.chat(**far.asked(f"{far.world.team}-after"))
    mesh.close()
    bad = ended.total() - ended["ok"]
    assert set(ended) <= ({"ok"} | kinds)
    assert bad == (ended.total() if kinds else 0)
    told = far.check()
    assert told["ok"] == ended["ok"] + 2
    assert told.total() == ended.total() + 2
    if kinds == {"timeout"}:
        lines = far.world.rows("e.outcome, e.estimated, e.input_tokens")
        unknown = [line for line in lines if line["outcome"] != "ok"]
        assert all(line["estimated"] and line["input_tokens"] > 0 for line in unknown), "it may be billed"


def test_connections_that_break_again_and_again(relay: Relay, far: Priced) -> None:
    chance, over = random.Random(SEED), threading.Event()
    print(f"seed {SEED}")
    mesh = far.world.mesh()

    def breaking() -> None:
        while not over.wait(chance.uniform(0.002, 0.03)):
            relay.reset()

    relay.toxics = Toxics(latency_s=0.003, jitter_s=0.01)  # so that they break in the middle
    breaker = threading.Thread(target=breaking)
    breaker.start()
    try:
        ended = calls_through(mesh, far, 20.0)
    finally:
        over.set()
        breaker.join()
    mesh.chat(**far.asked(f"{far.world.team}-after"))
    mesh.close()
    told = far.check()
    assert told["ok"] == ended["ok"] + 1
    assert told.total() == ended.total() + 1


def test_bytes_that_were_altered_on_the_way(relay: Relay, far: Priced) -> None:
    """An answer that can still be read is one; what cannot is an error of ours, and both are told."""
    mesh = far.world.mesh()
    relay.toxics = Toxics(corrupt=0.5)
    ended = calls_through(mesh, far, 2.0)
    relay.toxics = Toxics()
    relay.reset()
    mesh.chat(**far.asked(f"{far.world.team}-after"))
    mesh.close()
    assert set(ended) <= {"ok", "protocol", "incomplete", "status", "timeout", "connect"}
    far.world.collect()
    rows = far.world.rows("e.call_id")
    assert len({row["call_id"] for row in rows}) == ended.total() + 1
