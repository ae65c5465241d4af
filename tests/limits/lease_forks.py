"""A process with live leases that forks while its threads call; run as a program by a test.

Arguments: the server's URL, a hash tag, units of the limits, ``os`` or ``multiprocessing``, how many
children. Prints as JSON, for the parent and each child: calls by lease, calls decided by Redis.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable

from tests.limits.lease_holder import Holder, tuple_of


def lives_on(holder: Holder, tell: int) -> None:
    """Be a child: what it counts begins at 0; it spends until refused and gives back."""
    before = holder.leased, holder.direct
    # A thread of the parent may have held it.
    holder.gate, holder.refused = threading.Lock(), False
    holder.until_refused()
    holder.close()
    os.write(tell, json.dumps([holder.leased - before[0], holder.direct - before[1]]).encode() + b"\n")


def forked(holder: Holder, tell: int) -> Callable[[], int]:
    """Fork by hand; return what waits for the child's exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            lives_on(holder, tell)
            code = 0
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def started(holder: Holder, tell: int) -> Callable[[], int]:
    """Fork as multiprocessing does."""
    child = multiprocessing.get_context("fork").Process(target=lives_on, args=(holder, tell))
    child.start()

    def code() -> int:
        child.join()
        return child.exitcode or 0

    return code


def main(url: str, tag: str, units: int, how: str, children: int) -> None:
    holder = Holder(url, tuple_of(units, tag), holders=children + 1)
    fork, ends = {"os": forked, "multiprocessing": started}[how], []
    read, tell = os.pipe()
    holder.until_live()
    threads = [threading.Thread(target=holder.until_refused) for _ in range(2)]
    for thread in threads:
        thread.start()
    at_fork = holder.leased
    for _ in range(children):
        while not holder.live and not holder.refused:
            threading.Event().wait(0.001)
        at_fork = holder.leased
        ends.append(fork(holder, tell))
    for thread in threads:
        thread.join()
    codes = [end() for end in ends]
    holder.close()
    os.close(tell)
    with os.fdopen(read) as told:
        counts = [json.loads(line) for line in told]
    print(json.dumps([[holder.leased, holder.direct], *counts]))
    sys.exit(any(codes) or holder.leased <= at_fork)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
