"""A process that calls in every way there is until it is asked to stop; run by `soak`, never imported.

Usage: soak_caller.py ALIAS NAME SEED. An odd seed sends litellm's chat through the direct caller. The last
line it prints is a JSON object: what it left behind.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from mesh_plugins import MeshError
from mesh_plugins.mesh import Mesh
from tests.faults.soak_ways import ways

#: Every so many calls a process looks at what it holds.
LOOK = 100


class Held(NamedTuple):
    """What a process holds.

    Attributes:
        kib: memory of its own; a ring is mapped from its file.
        descriptors: files and sockets, by kind.
        threads: how many.
    """

    kib: int
    descriptors: dict[str, int]
    threads: int

    @classmethod
    def now(cls) -> Held:
        """Look."""
        gc.collect()
        status = Path("/proc/self/status").read_text()
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
        kinds = Counter(_kind(number) for number in os.listdir("/proc/self/fd"))
        return cls(kib, dict(kinds), threading.active_count())


def _kind(number: str) -> str:
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # the one that listed them
        return "gone"
    return target.partition(":")[0] if ":" in target else "file"


def report(looks: list[Held]) -> dict[str, Any]:
    """Return how much more was held at the end than half way, when every way was gone many times."""
    if len(looks) < 4:
        return {}
    half, end = looks[len(looks) // 2], looks[-1]
    return {
        "grown_kib": end.kib - half.kib,
        "grown_descriptors": sum(end.descriptors.values()) - sum(half.descriptors.values()),
        "grown_threads": end.threads - half.threads,
        "resident_kib": [held.kib for held in looks[:: max(1, len(looks) // 12)]],
        "descriptors": end.descriptors,
    }


def main(alias: str, name: str, seed: str) -> None:
    stop, chance = threading.Event(), random.Random(int(seed))
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    mesh = Mesh.from_env()
    found = ways(mesh, alias, fast=int(seed) % 2 == 1)
    looks: list[Held] = []
    for number in itertools.count():
        if stop.is_set():
            break
        try:
            chance.choice(list(found.values()))(f"{name}-{number}")
        except MeshError:
            stop.wait(0.02)
        if number % LOOK == LOOK - 1:
            looks.append(Held.now())
    said = {"calls": number, "ways": len(found), **report(looks)}
    mesh.close(5)
    said["threads"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("mesh")]
    said["left"] = Held.now().descriptors
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
