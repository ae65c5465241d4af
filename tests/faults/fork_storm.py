"""A process that forks again and again while its threads and a loop call; run as a program by a test.

Arguments: the alias, how many children, seconds a child may take. Every process prints how many calls it
made; a child that hangs says where each of its threads stands, and ends.
"""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import os
import random
import sys
import threading
import time
from typing import Any

from mesh_plugins.mesh import Mesh

ASK = [{"role": "user", "content": "hi"}]
#: Calls of each child, and children alive at once at most.
CALLS, AT_ONCE = 3, 6


class Caller:
    """Calls until it is told to stop.

    Attributes:
        made: calls that were answered in this process.
    """

    def __init__(self, mesh: Mesh, alias: str) -> None:
        self.mesh, self.alias, self.made = mesh, alias, itertools.count()
        self.over = False

    def call(self) -> None:
        self.mesh.chat(self.alias, ASK, max_tokens=8)
        next(self.made)

    def stream(self) -> None:
        for _ in self.mesh.stream(self.alias, ASK, max_tokens=8):
            pass
        next(self.made)

    async def acall(self) -> None:
        await self.mesh.achat(self.alias, ASK, max_tokens=8)
        next(self.made)

    def in_a_thread(self) -> None:
        while not self.over:
            self.call()
            self.stream()

    def on_a_loop(self) -> None:
        async def through() -> None:
            while not self.over:
                await asyncio.gather(*[self.acall() for _ in range(3)])

        asyncio.run(through())


def live(caller: Caller, patience_s: float, way: int) -> None:
    """Be a child: call in this or that way, and leave as a program leaves."""
    faulthandler.dump_traceback_later(patience_s, exit=True)
    caller.made = itertools.count()
    if way % 3 == 0:
        for _ in range(CALLS):
            caller.call()
    elif way % 3 == 1:
        asyncio.run(_a_few(caller))
    else:
        thread = threading.Thread(target=lambda: [caller.stream() for _ in range(CALLS)])
        thread.start()
        thread.join()
    caller.mesh.close(patience_s / 2)
    tell(caller)


async def _a_few(caller: Caller) -> None:
    await asyncio.gather(*[caller.acall() for _ in range(CALLS)])


def tell(caller: Caller) -> None:
    """Say in one write how many calls this process made."""
    os.write(1, f"{next(caller.made)}\n".encode())


def main(alias: str, children: int, patience_s: float) -> int:
    caller, chance = Caller(Mesh.from_env(), alias), random.Random(children)
    caller.call()
    threads = [threading.Thread(target=caller.in_a_thread) for _ in range(2)]
    threads.append(threading.Thread(target=caller.on_a_loop))
    for thread in threads:
        thread.start()
    alive: set[int] = set()
    failed = 0

    def reap(most: int) -> None:
        nonlocal failed
        while len(alive) > most:
            pid, status = os.wait()
            alive.discard(pid)
            failed += status != 0

    for number in range(children):
        time.sleep(chance.uniform(0, 0.02))  # another moment of what the threads do
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                live(caller, patience_s, number)
                code = 0
            finally:
                os._exit(code)
        alive.add(pid)
        reap(AT_ONCE)
    reap(0)
    caller.over = True
    for thread in threads:
        thread.join()
    failed += caller.mesh.telemetry_health().dropped
    caller.mesh.close(patience_s)
    tell(caller)
    return failed


if __name__ == "__main__":
    arguments: Any = sys.argv
    sys.exit(min(100, main(arguments[1], int(arguments[2]), float(arguments[3]))))
