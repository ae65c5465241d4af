"""What Mesh adds to litellm in processor time: governed, by the short way, and metered by `MeshLogger`.

::

    python tests/benchmarks/bench_litellm.py [--rounds 20] [--calls 30]

A stand-in provider in a process of its own answers at once; limits and facts are kept in memory, so that
what is told is our code beside litellm's. Rounds are interleaved, medians of `time.process_time` are told.
The requirements: governed at most 1.1x, fast at most 0.8x, `MeshLogger` at most 1.05x.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from suite.services import upstream

from mesh_plugins.hosts.litellm import MeshLogger, install, uninstall
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team

ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
_LISTS = ("callbacks", "success_callback", "failure_callback", "input_callback")
_ASYNC_LISTS = ("_async_success_callback", "_async_failure_callback", "_async_input_callback")
#: litellm settles its callbacks in threads; their work belongs to the round that caused it.
_THREADS_S = 0.05


def governing(url: str) -> MemoryMesh:
    """Return a mesh whose aliases are called as callers and as litellm call the model."""
    target = Target(id="t", provider="p", model="small")
    aliases = (
        Alias(id=name, name=name, operations=("chat",), targets=(target,))
        for name in ("fast", "openai/small")
    )
    document = SnapshotDocument(
        epoch="bench",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(Provider(id="p", name="openai", kind="openai", base_url=url),),
        aliases=tuple(aliases),
        limits=(),
    )
    return MemoryMesh(document=document)


def forget(logger: Any) -> None:
    """Take a callback out of every list that litellm copied it into."""
    for name in (*_LISTS, *_ASYNC_LISTS):
        getattr(litellm, name)[:] = [other for other in getattr(litellm, name) if other is not logger]


def taken(call: Callable[[], Any], calls: int) -> float:
    """Return milliseconds of processor time a call takes."""
    call()
    began = time.process_time()
    for _ in range(calls):
        call()
    time.sleep(_THREADS_S)
    return (time.process_time() - began) / calls * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=30)
    options = parser.parse_args()
    with upstream() as url:
        mesh: Any = governing(url)
        logger = MeshLogger(mesh)
        asked: dict[str, Any] = {"messages": ASK, "max_tokens": 16}
        own = {"model": "openai/small", "api_base": url, "api_key": "none", "num_retries": 0, **asked}
        nothing: Callable[[], None] = lambda: None  # noqa: E731 - one word of a table
        cases: dict[str, tuple[Callable[[], Any], dict[str, Any], Callable[[], Any]]] = {
            "litellm alone": (nothing, own, nothing),
            "with MeshLogger": (lambda: litellm.callbacks.append(logger), own, lambda: forget(logger)),
            "governed": (lambda: install(mesh), {"model": "mesh/fast", **asked}, uninstall),
            "governed, fast": (lambda: install(mesh, fast=True), {"model": "mesh/fast", **asked}, uninstall),
        }
        told: dict[str, list[float]] = {name: [] for name in cases}
        for number in range(options.rounds + 1):
            for name, (before, arguments, after) in cases.items():
                before()
                spent = taken(lambda arguments=arguments: litellm.completion(**arguments), options.calls)
                after()
                if number:  # the first round warms up
                    told[name].append(spent)
    floor = statistics.median(told["litellm alone"])
    for name, values in told.items():
        print(f"{name:20}{statistics.median(values):8.2f} ms{statistics.median(values) / floor:8.3f}x")


if __name__ == "__main__":
    main()
