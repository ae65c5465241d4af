"""A process that calls in every way there is until it is asked to stop; run by `soak`, never imported.

Usage: soak_caller.py ALIAS NAME SEED. The last line it prints is a JSON object: what it left behind.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mesh_plugins import MeshError
from mesh_plugins.mesh import Mesh

#: Calls after which memory counts as warm.
WARM = 60


def ways(mesh: Mesh, alias: str) -> list[Callable[[str], Any]]:
    """Return every way to call that is installed here; each takes whom the call is for."""
    ask: Any = [{"role": "user", "content": "tell me something true, at some length"}]
    params: Any = {"max_tokens": 8}

    def left_early(user: str) -> None:
        with mesh.stream(alias, ask, user=user, **params) as stream:
            next(stream)

    async def read(user: str) -> None:
        _ = [chunk async for chunk in await mesh.astream(alias, ask, user=user, **params)]

    async def cancelled(user: str) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(mesh.achat(alias, ask, user=user, **params), 0.004)

    async def many(user: str) -> None:
        calls = [mesh.achat(alias, ask, user=f"{user}-{number}", **params) for number in range(4)]
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, MeshError):
                raise ended

    found: list[Callable[[str], Any]] = [
        lambda user: mesh.chat(alias, ask, user=user, **params),
        lambda user: list(mesh.stream(alias, ask, user=user, **params)),
        left_early,
        lambda user: asyncio.run(read(user)),
        lambda user: asyncio.run(cancelled(user)),
        lambda user: asyncio.run(many(user)),
    ]
    if importlib.util.find_spec("litellm"):
        import litellm

        from mesh_plugins.hosts.litellm import install

        install(mesh)
        found.append(lambda user: litellm.completion(f"mesh/{alias}", ask, user=user, **params))
    if importlib.util.find_spec("langchain_core"):
        from mesh_plugins.hosts.langchain import ChatMesh

        model = ChatMesh(model=alias, mesh=mesh, max_tokens=8)
        found.append(lambda user: model.invoke("tell me something true", user=user))
    return found


def resident() -> int:
    """Return this process's memory in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def descriptors() -> int:
    """Return how many files and sockets this process holds open."""
    return len(os.listdir("/proc/self/fd"))


def main(alias: str, name: str, seed: str) -> None:
    stop, chance = threading.Event(), random.Random(int(seed))
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    mesh = Mesh.from_env()
    found, warm, open_then = ways(mesh, alias), 0, 0
    for number in itertools.count():
        if stop.is_set():
            break
        try:
            chance.choice(found)(f"{name}-{number}")
        except MeshError:
            stop.wait(0.02)
        if number == WARM:
            gc.collect()
            warm, open_then = resident(), descriptors()
    gc.collect()
    report: dict[str, Any] = {"calls": number}
    if warm:
        report |= {"grown_kib": resident() - warm, "grown_descriptors": descriptors() - open_then}
    mesh.close(5)
    report["threads"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("mesh")]
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
