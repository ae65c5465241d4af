"""One check of limits in Redis: ours with four limits, its peers with one and with four."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bench_limiter
import redis

from suite import services
from suite.book import Page
from suite.contenders import PROXY
from suite.environments import Missing, versions
from suite.stage import Stage

_PEERS = ("throttled-py", "limits", "redis[hiredis]<8")  # they do not run on redis-py 8
_NAMES = {"ours": "Mesh", "peer": "throttled-py", "limits": "limits, fixed window", "litellm": "LiteLLM's"}
_HOW = {
    "async64": "Limits, 64 tasks",
    "async1": "Limits, one task",
    "threads8": "Limits, 8 threads",
    "sync1": "Limits, one thread",
}
_WHAT = {"1": "one limit", "4": "four limits", "ping": "redis-py PING"}
#: What is compared is measured side by side.
_CASES = [
    *(("ours", "async64 4"), ("peer", "async64 1"), ("peer", "async64 4"), ("limits", "async64 4")),
    *(("litellm", "async64 4"), ("ours", "async1 4"), ("peer", "async1 1"), ("peer", "async1 4")),
    *(("limits", "async1 4"), ("litellm", "async1 4"), ("ours", "sync1 4"), ("ours", "sync1 ping")),
    *(("peer", "sync1 1"), ("peer", "sync1 4"), ("limits", "sync1 1"), ("limits", "sync1 4")),
    *(("ours", "threads8 4"), ("peer", "threads8 1"), ("peer", "threads8 4")),
]


def run(page: Page, stage: Stage) -> None:
    """Measure every case of everybody who is there, in interleaved rounds."""
    with services.valkey() as url, redis.Redis.from_url(url) as client, _workers(page, stage, url) as workers:
        bench = bench_limiter.Bench(client, workers, stage.seconds / 2)
        found: dict[tuple[str, str], list[bench_limiter.Shown]] = {}
        for number in range(stage.rounds):
            stage.say(f"round {number + 1} of {stage.rounds}")
            for who, case in _CASES:
                if who in workers:
                    shown = stage.quiet(lambda who=who, case=case: bench.take(who, case))  # type: ignore[misc]
                    found.setdefault((who, case), []).append(shown)
    for (who, case), rounds in found.items():
        _tell(page, who, case, rounds)


@contextmanager
def _workers(page: Page, stage: Stage, url: str) -> Iterator[dict[str, bench_limiter.Worker]]:
    wanted = {
        "ours": ((), "bench_limiter_ours.py", ("redis",)),
        "peer": (_PEERS, "bench_limiter_peer.py", ("throttled-py",)),
        "limits": (_PEERS, "bench_limiter_limits.py", ("limits",)),
        "litellm": (PROXY, "bench_limiter_litellm.py", ("litellm",)),
    }
    workers: dict[str, bench_limiter.Worker] = {}
    try:
        for who, (requirements, script, packages) in wanted.items():
            try:
                python = stage.environments.python(requirements)
                workers[who] = bench_limiter.Worker(str(python), script, url)
                _warm(workers[who])
            except Missing as why:
                page.without(f"{_NAMES[who]} limiter", why)
                if who in workers:
                    workers.pop(who).close()
                continue
            page.book.versions |= versions(python, packages)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _warm(worker: bench_limiter.Worker) -> None:
    try:
        worker.measure("async1 4", 0.1)
    except (ValueError, OSError):
        raise Missing("its worker could not check a limit") from None


def _tell(page: Page, who: str, case: str, rounds: list[bench_limiter.Shown]) -> None:
    how, what = case.split()
    table, name = _HOW[how], f"{_NAMES[who]}: {_WHAT[what]}" if what != "ping" else _WHAT[what]
    page.tell(table, name, "checks/s", "/s", [shown.rate for shown in rounds])
    page.tell(table, name, "caller's CPU a check", "us", [shown.worker_us for shown in rounds])
    page.tell(table, name, "server's CPU a check", "us", [shown.server_us for shown in rounds])
