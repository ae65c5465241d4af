"""What a leased check of four limits costs: against throttled-py's GCRA of one limit in memory.

::

    python tests/benchmarks/bench_leases.py --peer /path/to/peer/python [--rounds 7] [--checks 20000]

throttled-py runs in an interpreter of its own (one that has ``throttled-py``); nobody speaks to a server
here. Rounds are interleaved, each reports the median of its batches in CPU time of its process. Only the
ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BATCH = 500

PEER = """
import json, statistics, sys, time
import throttled
quota = throttled.rate_limiter.per_sec(10**9, burst=10**9)
limiter = throttled.Throttled(key="bench", using="gcra", quota=quota, store=throttled.store.MemoryStore())
def batch():
    began = time.process_time_ns()
    for _ in range(500):
        limiter.limit()
    return (time.process_time_ns() - began) / 500
batch()
for line in sys.stdin:
    print(statistics.median(batch() for _ in range(json.loads(line) // 500)), flush=True)
"""


def batches(check: Callable[[], Any], checks: int) -> float:
    """Return the median nanoseconds of a check."""

    def batch() -> float:
        began = time.process_time_ns()
        for _ in range(BATCH):
            check()
        return (time.process_time_ns() - began) / BATCH

    return statistics.median(batch() for _ in range(checks // BATCH))


def leased() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a check of four limits under a lease, and a check with its settlement."""
    from mesh_store.model import Charge, Limit
    from mesh_store.model.facts import Settlement
    from mesh_store.model.limits import Reservation
    from mesh_store.redis.lease_book import LeaseBook
    from mesh_store.redis.lease_desk import Desk
    from mesh_store.redis.leasing import Grant

    class Nothing:
        def lease(self, record: object) -> bool:
            return True

    plenty = 10**9
    charges = (
        Charge("{b}:q:requests", Limit(amount=plenty, period_us=10**6), 1),
        Charge("{b}:q:tokens", Limit(amount=plenty, period_us=10**6), 700),
        Charge("{b}:q:slots", Limit(amount=plenty, period_us=10**6, kind="slots"), 1),
        Charge("{b}:q:usd", Limit(amount=plenty, period_us=86_400 * 10**6, kind="window"), 1),
    )
    book = LeaseBook()
    book.ledger = Nothing()
    book.draw(charges, "first")
    [desk] = book._desks.values()
    assert isinstance(desk, Desk)
    whole = tuple(Charge(charge.key, charge.limit, plenty) for charge in charges)
    grant = Grant(Reservation("lease", whole, 1, 1), 0, (1,) * 4, (1,) * 4, 10**12)
    book.install(desk, grant, plenty, book._clock_us())
    numbers = iter(range(10**9))
    names = [f"call{number}" for number in range(64)]

    check = functools.partial(book.draw, charges, "call")
    assert check() is not None

    def whole_call() -> None:
        # A few ids again and again: what runs at one time is a few calls.
        decision = book.draw(charges, names[next(numbers) % 64])
        assert decision is not None
        assert decision.reservation is not None
        book.settle(Settlement(decision.reservation, (1, 650, 0, 1)), lambda settlement: None)

    return check, whole_call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", help="interpreter that has throttled-py")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--checks", type=int, default=20_000)
    chosen = parser.parse_args()
    peer = chosen.peer and subprocess.Popen(
        [chosen.peer, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, list[float]] = {}
    for _ in range(chosen.rounds):
        check, whole_call = leased()
        found.setdefault("leased check, 4 limits", []).append(batches(check, chosen.checks))
        found.setdefault("leased check and settlement", []).append(batches(whole_call, chosen.checks))
        if peer:
            peer.stdin.write(json.dumps(chosen.checks) + "\n")
            peer.stdin.flush()
            found.setdefault("throttled-py in memory, 1 limit", []).append(float(peer.stdout.readline()))
    if peer:
        peer.kill()
        peer.wait()
    first = statistics.median(next(iter(found.values())))
    for name, rounds in found.items():
        median = statistics.median(rounds)
        print(f"{name:34} {median / 1000:8.2f} us   leased/this {first / median:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
