"""How cost grows: with callers, processes, limits and keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import bench_config_keys

from mesh_plugins.testing.playground import TEAM, Playground
from suite import services
from suite.book import Page
from suite.contenders import Contender, Ground
from suite.environments import Missing
from suite.rounds import Worker, working
from suite.stage import Stage

CALLERS, PROCESSES, LIMIT_COUNTS = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4), (1, 4, 16, 64)
CALLERS_EACH = 8
BY_CALLERS, BY_PROCESSES = "Growth: callers in one process", "Growth: processes"
BY_LIMITS, BY_KEYS = "Growth: limits on a call", "Growth: keys"
_DIMENSIONS = ("requests", "input tokens", "output tokens", "tokens")


def run(page: Page, stage: Stage) -> None:
    """Measure every curve."""
    names = [f"limits{count}" for count in LIMIT_COUNTS]
    with Playground(aliases=["free", *names]) as playground, services.upstream() as url:
        playground.admin.update_provider("east", base_url=url)
        with playground.admin.batch() as admin:
            for name, count in zip(names, LIMIT_COUNTS, strict=True):
                for number in range(count):
                    text = f"9000M {_DIMENSIONS[number % 4]}/{60 + number}min"
                    admin.create_limit(team=TEAM, alias=name, limit=text)
        with services.valkey() as redis_url:
            ground = Ground(url, redis_url, stage.environments)
            _by_callers(page, stage, ground)
            _by_processes(page, stage, ground)
            _by_limits(page, stage, ground)
    _by_keys(page, stage)


def _by_callers(page: Page, stage: Stage, ground: Ground) -> None:
    everybody = [
        Contender("floor: aiohttp", "bare_aiohttp"),
        Contender("Mesh, 4 limits", "mesh_callers", settings={"alias": "limits4"}),
        Contender("TensorZero embedded, 4 limits", "tensorzero_embedded", ("tensorzero",)),
    ]
    with ExitStack() as stack:
        workers = _started(page, everybody, ground, stack)
        for callers in CALLERS:
            stage.say(f"{callers} callers")
            for name, answers in _slices(stage, workers, callers).items():
                _tell(page, BY_CALLERS, name, answers, callers, "callers")


def _by_processes(page: Page, stage: Stage, ground: Ground) -> None:
    kinds = [
        Contender("floor: aiohttp", "bare_aiohttp"),
        Contender("Mesh, 4 limits", "mesh_callers", settings={"alias": "limits4"}),
    ]
    for contender in kinds:
        stage.say(f"processes of {contender.name}")
        with ExitStack() as stack:
            workers = [stack.enter_context(working(contender, ground, stack)) for _ in range(max(PROCESSES))]
            for count in PROCESSES:
                rounds = [
                    stage.quiet(lambda some=workers[:count]: _together(some, stage.seconds))  # type: ignore[misc]
                    for _ in range(stage.rounds)
                ]
                _tell(page, BY_PROCESSES, contender.name, rounds, count, "processes")


def _by_limits(page: Page, stage: Stage, ground: Ground) -> None:
    for count in LIMIT_COUNTS:
        stage.say(f"{count} limits")
        everybody = [
            Contender(f"Mesh, leases {leases}", "mesh_callers", settings={"alias": f"limits{count}"},
                      variables={"MESH_LEASES": leases})
            for leases in ("on", "off")
        ]  # fmt: skip
        if count > 1:  # its rules come in pairs
            settings = {"limits": count}
            everybody.append(
                Contender("TensorZero embedded", "tensorzero_embedded", ("tensorzero",), settings=settings)
            )
        with ExitStack() as stack:
            workers = _started(page, everybody, ground, stack)
            for name, answers in _slices(stage, workers, CALLERS_EACH).items():
                _tell(page, BY_LIMITS, name, answers, count, "limits")


def _started(
    page: Page, everybody: Sequence[Contender], ground: Ground, stack: ExitStack
) -> dict[str, Worker]:
    workers = {}
    for contender in everybody:
        try:
            worker = stack.enter_context(working(contender, ground, stack))
            worker.slice(CALLERS_EACH, 0.2)
        except Missing as why:
            page.without(contender.name, why)
        else:
            workers[contender.name] = worker
    return workers


def _slices(stage: Stage, workers: dict[str, Worker], callers: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(min(3, stage.rounds)):
        for name, worker in workers.items():
            answer = stage.quiet(lambda w=worker: w.slice(callers, stage.seconds / 2))  # type: ignore[misc]
            found[name].append(answer)
    return found


def _together(workers: Sequence[Worker], seconds: float) -> dict[str, float]:
    """Let processes call at the same time; return sums, and processor time a call."""
    answers: list[dict[str, float]] = []
    threads = [
        threading.Thread(target=lambda w=worker: answers.append(w.slice(CALLERS_EACH, seconds)))
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sums = {name: sum(answer[name] for answer in answers) for name in ("calls_s", "rss_mb", "calls")}
    cpu_us = sum(answer["cpu_us"] * answer["calls"] for answer in answers) / sums["calls"]
    return {**sums, "cpu_us": cpu_us}


def _tell(page: Page, table: str, case: str, answers: Sequence[dict[str, float]], at: int, axis: str) -> None:
    for name, unit, key in (
        ("calls/s", "/s", "calls_s"),
        ("CPU a call", "us", "cpu_us"),
        ("memory", "MiB", "rss_mb"),
    ):
        page.tell(table, case, name, unit, [answer[key] for answer in answers], at, axis)


def _by_keys(page: Page, stage: Stage) -> None:
    sizes = (100, 1_000, 10_000) if stage.quick else (100, 1_000, 10_000, 100_000, 1_000_000)
    stage.say("keys")
    with services.valkey() as url:
        for size, told in asyncio.run(bench_config_keys.growing_keys(url, sizes)).items():
            for (name, unit), value in told.items():
                page.tell(BY_KEYS, "Mesh", name, unit, value, size, "keys")
