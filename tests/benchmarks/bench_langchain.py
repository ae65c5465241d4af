"""What governing costs under LangChain, in CPU time: the handler on top of ``ChatOpenAI``, and `ChatMesh`.

::

    python tests/benchmarks/bench_langchain.py [--rounds 40] [--calls 10]

One stand-in provider in a process of its own answers at once; Postgres and Valkey are the embedded ones.
CPU time is this process's (``time.process_time``), so what its daemon threads do for a call counts, too,
and a busy machine counts little. A round makes a few calls of each case in turn; told are the medians of
the rounds, and the median of each round's ratio to ``ChatOpenAI`` by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from bench_calls import LIMITS
from suite.services import upstream

from mesh_plugins import Mesh
from mesh_plugins.testing.playground import Playground

QUESTION = "What is the capital of France? Answer in one word."
FLOOR = "ChatOpenAI"

#: Makes so many calls, one after the other.
Case = Callable[[int], Awaitable[None]]


def cases(mesh: Mesh, url: str) -> dict[str, dict[str, Case]]:
    """Return, per way to call, what is compared."""
    from langchain_openai import ChatOpenAI

    from mesh_plugins.hosts.langchain import ChatMesh, MeshCallbackHandler

    def theirs(**more: Any) -> Any:
        return ChatOpenAI(
            model="small",
            base_url=url,
            api_key="none",
            max_retries=0,
            max_tokens=16,
            stream_usage=True,
            **more,
        )

    models = {
        FLOOR: theirs(),
        "ChatOpenAI with MeshCallbackHandler": theirs(callbacks=[MeshCallbackHandler("fast", mesh=mesh)]),
        "ChatMesh": ChatMesh(model="fast", mesh=mesh, max_tokens=16),
    }
    return {
        way: {name: made(model) for name, model in models.items()}
        for way, made in {"invoke": _invoked, "ainvoke": _awaited, "stream": _streamed}.items()
    }


def _invoked(model: Any) -> Case:
    async def calls(count: int) -> None:
        for _ in range(count):
            model.invoke(QUESTION)

    return calls


def _awaited(model: Any) -> Case:
    async def calls(count: int) -> None:
        for _ in range(count):
            await model.ainvoke(QUESTION)

    return calls


def _streamed(model: Any) -> Case:
    async def calls(count: int) -> None:
        for _ in range(count):
            for _ in model.stream(QUESTION):
                pass

    return calls


async def measure(compared: dict[str, Case], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return microseconds of CPU a call, one figure a round; the first round warms up."""
    told: dict[str, list[float]] = {name: [] for name in compared}
    for number in range(rounds + 1):
        # Whoever comes second finds warm caches: the order turns with the rounds.
        for name in sorted(compared, reverse=bool(number % 2)):
            began = time.process_time()
            await compared[name](calls)
            if number:
                told[name].append((time.process_time() - began) / calls * 1e6)
    return told


async def run(mesh: Mesh, url: str, rounds: int, calls: int) -> None:
    """Measure every way to call and print."""
    print(f"{'':52}{'us of CPU':>10}{'x ChatOpenAI':>14}")
    for way, compared in cases(mesh, url).items():
        told = await measure(compared, rounds, calls)
        for name, values in told.items():
            ratio = statistics.median(a / b for a, b in zip(values, told[FLOOR], strict=True))
            print(f"{f'{way}: {name}':52}{statistics.median(values):10.0f}{ratio:14.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with Playground(limits=LIMITS) as playground, upstream() as url:
        playground.admin.update_provider("east", base_url=url)
        with Mesh.from_env(decision_s=5.0) as mesh:
            asyncio.run(run(mesh, url, options.rounds, options.calls))


if __name__ == "__main__":
    main()
