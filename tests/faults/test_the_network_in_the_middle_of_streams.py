"""Something goes wrong on the way while streams are read: it is told, and each is one fact of what came."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from mesh_plugins import ProviderError
from tests.faults.conftest import Priced
from tests.faults.relay import Relay, Toxics

SEED = 17
STREAMS = 3
WORDS = 40
#: How long readers wait for each other's first chunk, on a busy machine.
PATIENCE_S = 60


class Fault(NamedTuple):
    """What happens once every stream has begun.

    Attributes:
        toxics: from then on.
        ends: how the streams end.
        pause_s: between two words, so that they are not over by then.
        timeout_s: how long a call may take.
    """

    toxics: Toxics
    ends: str
    pause_s: float = 0.02
    timeout_s: float = 90.0


FAULTS = {
    "late": Fault(Toxics(latency_s=0.02, jitter_s=0.05), "ok"),
    "in slices": Fault(Toxics(slice_bytes=5), "ok"),
    "narrow": Fault(Toxics(bytes_per_s=20_000), "ok"),
    "unheard": Fault(Toxics(black_hole_down=True), "timeout", pause_s=1.0, timeout_s=20.0),
    "broken": Fault(Toxics(refuse=True), "incomplete", pause_s=1.0),
}
LENGTHY = ("unheard",)
BRISK = sorted(FAULTS.keys() - LENGTHY)


@pytest.fixture
def relay(stand_in: Any) -> Iterator[Relay]:
    with Relay(stand_in.origin.replace("http", "tcp"), seed=SEED) as relay:
        yield relay


@pytest.mark.parametrize("name", [*BRISK, *[pytest.param(name, marks=pytest.mark.full) for name in LENGTHY]])
def test_is_told_and_one_fact_with_what_had_come(
    relay: Relay, make_priced: Callable[..., Priced], name: str
) -> None:
    fault, ended = FAULTS[name], Counter[str]()
    priced = make_priced(base_url=f"http://127.0.0.1:{relay.port}/v1")
    priced.world.provider.script("small", content=" ".join(["word"] * WORDS), chunk_delay_s=fault.pause_s)
    mesh, begun = priced.world.mesh(), threading.Barrier(2 * STREAMS + 1)

    asking = {"timeout_s": fault.timeout_s, "max_tokens": 99}

    def asked(number: str) -> dict[str, Any]:
        return priced.asked(f"{priced.world.team}-{number}") | asking

    def in_a_thread(number: int) -> None:
        try:
            stream = mesh.stream(**asked(f"t{number}"))
            while not next(stream).choices[0].delta.content:
                pass
            begun.wait(PATIENCE_S)
            list(stream)
            ended["ok"] += 1
        except ProviderError as error:
            ended[error.kind] += 1

    async def on_a_loop(number: int) -> None:
        try:
            stream = await mesh.astream(**asked(f"l{number}"))
            while not (await anext(stream)).choices[0].delta.content:
                pass
            await asyncio.to_thread(begun.wait, PATIENCE_S)
            _ = [chunk async for chunk in stream]
            ended["ok"] += 1
        except ProviderError as error:
            ended[error.kind] += 1

    async def all_of_a_loop() -> None:
        await asyncio.gather(*[on_a_loop(number) for number in range(STREAMS)])

    threads = [threading.Thread(target=in_a_thread, args=(number,)) for number in range(STREAMS)]
    threads.append(threading.Thread(target=asyncio.run, args=(all_of_a_loop(),)))
    try:
        for thread in threads:
            thread.start()
        begun.wait(PATIENCE_S)
        relay.toxics = fault.toxics
        if fault.toxics.refuse:
            relay.reset()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    finally:
        relay.toxics = Toxics()
        priced.world.provider.script("small")
    assert ended == {fault.ends: 2 * STREAMS}
    mesh.close()
    assert priced.check() == {fault.ends: 2 * STREAMS}
    facts = priced.world.rows("e.outcome, e.estimated, e.output_tokens, e.cost_pico_usd, e.ttft_us")
    assert all(
        row["ttft_us"] is not None and row["output_tokens"] > 0 < row["cost_pico_usd"] for row in facts
    )
    assert {row["estimated"] for row in facts} == {fault.ends != "ok"}
