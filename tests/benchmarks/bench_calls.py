"""What governing a call costs: alias, key, four limits and a fact, against the same call without them.

::

    python tests/benchmarks/bench_calls.py [--rounds 7] [--seconds 0.5] [--only direct,litellm,langchain]

One stand-in provider in a process of its own answers at once; Postgres and Valkey are the embedded ones.
The floor is the bare transport (pyreqwest for threads, aiohttp for event loops) that posts the same body
to the same server and reads the answer. Rounds are interleaved, medians are told, and only ratios mean
anything elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from suite.services import upstream

from mesh_plugins import Mesh
from mesh_plugins.testing.playground import Playground

LIMITS = tuple(f"9000M {what}/hour" for what in ("requests", "input tokens", "output tokens", "tokens"))
ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
BODY = json.dumps({"model": "small", "messages": ASK, "max_tokens": 16}).encode()
HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}
CROWD = 32

Call = Callable[[], Any]
ACall = Callable[[], Awaitable[Any]]


@dataclass
class Bench:
    """Cases of one group: what they are called, and how each makes a call.

    Attributes:
        threads: cases for one thread.
        loops: cases for an event loop, with so many callers at once.
        prepare: what must be done before a case is measured, each time.
        closing: what the event loop must close at the end.
    """

    threads: dict[str, Call] = field(default_factory=dict)
    loops: dict[str, tuple[int, ACall]] = field(default_factory=dict)
    prepare: dict[str, Call] = field(default_factory=dict)
    closing: list[ACall] = field(default_factory=list)


def direct(mesh: Mesh, url: str) -> Bench:
    """Our caller against the transports beneath it, and OpenAI's SDK."""
    import aiohttp
    from openai import AsyncOpenAI
    from pyreqwest.client import SyncClientBuilder

    bench, client, path = Bench(), SyncClientBuilder().build(), f"{url}/chat/completions"
    sessions: list[aiohttp.ClientSession] = []
    sdk = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    def bare() -> Any:
        with client.post(path).headers(HEADERS).body_bytes(BODY).build_streamed() as response:
            return json.loads(bytes(response.body_reader.read(1 << 20) or b""))

    async def abare() -> Any:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
            bench.closing.append(sessions[0].close)
        async with sessions[0].post(path, data=BODY, headers=HEADERS) as response:
            return json.loads(await response.read())

    bench.threads = {
        "floor: pyreqwest, 1 caller": bare,
        "mesh.chat, 1 caller": lambda: mesh.chat("fast", ASK, max_tokens=16),
    }
    for callers in (1, CROWD):
        bench.loops |= {
            f"floor: aiohttp, {callers} callers": (callers, abare),
            f"mesh.achat, {callers} callers": (callers, lambda: mesh.achat("fast", ASK, max_tokens=16)),
            f"openai SDK, {callers} callers": (
                callers,
                lambda: sdk.chat.completions.create(model="small", messages=ASK, max_tokens=16),
            ),
        }
    return bench


def under_litellm(mesh: Mesh, url: str) -> Bench:
    """litellm by itself, governed, and governed by the short way."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    from mesh_plugins.hosts.litellm import install

    bench = Bench()

    def plain() -> Any:
        return litellm.completion(
            model="openai/small", messages=ASK, max_tokens=16, api_base=url, api_key="none", num_retries=0
        )

    def governed() -> Any:
        return litellm.completion(model="mesh/fast", messages=ASK, max_tokens=16)

    usual, fast = "litellm through mesh", "litellm through mesh, fast"
    bench.threads = {"floor: litellm": plain, usual: governed, fast: governed}
    bench.prepare = {usual: lambda: install(mesh), fast: lambda: install(mesh, fast=True)}
    return bench


def under_langchain(mesh: Mesh, url: str) -> Bench:
    """`ChatMesh` against the chat model people use for OpenAI."""
    from langchain_openai import ChatOpenAI

    from mesh_plugins.hosts.langchain import ChatMesh

    bench = Bench()
    theirs = ChatOpenAI(model="small", base_url=url, api_key="none", max_retries=0, max_tokens=16)
    ours = ChatMesh(model="fast", mesh=mesh, max_tokens=16)
    question = ASK[0]["content"]
    bench.threads = {
        "floor: ChatOpenAI": lambda: theirs.invoke(question),
        "ChatMesh": lambda: ours.invoke(question),
    }
    return bench


def in_a_thread(call: Call, seconds: float) -> float:
    """Return microseconds a call takes, one after the other."""
    done, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        call()
        done += 1
    return passed / done * 1e6


async def in_a_loop(callers: int, call: ACall, seconds: float) -> float:
    """Return microseconds from one answer to the next, with so many callers."""
    done, began = 0, time.perf_counter()

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await call()
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.perf_counter() - began) / done * 1e6


def run(bench: Bench, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Measure every case once a round; the first round warms up and does not count."""
    told: dict[str, list[float]] = {name: [] for name in (*bench.threads, *bench.loops)}
    with asyncio.Runner() as runner:
        for number in range(rounds + 1):
            for name, values in told.items():
                bench.prepare.get(name, _nothing)()
                if name in bench.threads:
                    taken = in_a_thread(bench.threads[name], seconds if number else 0.05)
                else:
                    callers, call = bench.loops[name]
                    taken = runner.run(in_a_loop(callers, call, seconds if number else 0.05))
                if number:
                    values.append(taken)
        for close in bench.closing:
            runner.run(_awaited(close))
    return told


def _nothing() -> None:
    return None


async def _awaited(close: ACall) -> None:
    await close()


def show(told: dict[str, list[float]]) -> None:
    """Print medians, and each case's ratio to the floor before it."""
    floor = 1.0
    print(f"{'':34}{'us a call':>10}{'least':>8}{'calls/s':>9}{'x floor':>9}{'+ us':>8}")
    for name, values in told.items():
        median = statistics.median(values)
        floor = median if name.startswith("floor") else floor
        ratios = f"{median / floor:9.2f}{median - floor:8.0f}"
        print(f"{name:34}{median:10.0f}{min(values):8.0f}{1e6 / median:9.0f}{ratios}")


GROUPS: dict[str, Callable[[Mesh, str], Bench]] = {
    "direct": direct,
    "litellm": under_litellm,
    "langchain": under_langchain,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", default=",".join(GROUPS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with Playground(limits=LIMITS) as playground, upstream() as url:
        playground.admin.update_provider("east", base_url=url)
        with Mesh.from_env(decision_s=1.0) as mesh:
            for group in options.only.split(","):
                print(f"\n{group}")
                show(run(GROUPS[group](mesh, url), options.rounds, options.seconds))
            print(f"\ntelemetry: {mesh.telemetry_health()}")


if __name__ == "__main__":
    main()
