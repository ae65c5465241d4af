"""Interleaved rounds over many workers, each in its own process, on a machine that may not be quiet."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .contenders import Contender, Ground
from .environments import Missing, versions
from .machine import Foreign

_READY_S = 120.0
_WORKERS = Path(__file__).parent / "workers"


@dataclass
class Row:
    """What was measured of one contender with so many callers.

    Attributes:
        rounds: calls a second of each round.
        p50s_us, p99s_us: latency as a caller sees it, of each round.
        cpus_us: processor time a call takes in the caller's own process, of each round.
        rss_mb: most memory the caller's process had after a slice.
        foreign: the largest share of the machine others used in a slice that counted.
    """

    contender: str
    callers: int
    rounds: list[float] = field(default_factory=list)
    p50s_us: list[float] = field(default_factory=list)
    p99s_us: list[float] = field(default_factory=list)
    cpus_us: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    foreign: float = 0.0


class Worker:
    """A contender's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def slice(self, callers: int, seconds: float) -> dict[str, float]:
        """Make calls for so long; return what the worker measured."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"callers": callers, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Missing("its worker ended while it was measured")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextmanager
def working(contender: Contender, ground: Ground, stack: ExitStack) -> Iterator[Worker]:
    """Start a contender's worker and wait until one call was answered.

    Raises:
        Missing: it cannot run here; says why.
    """
    told = contender.told(ground, stack)
    with subprocess.Popen(
        [str(contender.python(ground)), str(_WORKERS / f"{contender.worker}.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=contender.environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
            if not process.stdout.readline():
                process.kill()
                said = (process.communicate()[1].strip().splitlines() or ["nothing"])[-1]
                raise Missing(f"its worker could not call: {said[:160]}")
            yield Worker(process)
        finally:
            process.kill()


@dataclass
class Found:
    """What a suite found.

    Attributes:
        rows: one a contender and number of callers, in order.
        missing: who could not take part, and why.
        versions: of what was measured.
    """

    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def measure(
    everybody: Sequence[Contender],
    ground: Ground,
    foreign: Foreign,
    *,
    callers: Sequence[int],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Found:
    """Measure everybody in turn, ``rounds`` times over; whoever cannot run is named."""
    found = Found()
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contender in everybody:
            say(f"starting {contender.name}")
            try:
                worker = stack.enter_context(working(contender, ground, stack))
                worker.slice(max(callers), 0.2)
            except Missing as why:
                found.missing[contender.name] = str(why)
                say(f"  left out: {why}")
                continue
            workers[contender.name] = worker
            found.versions |= versions(contender.python(ground), contender.packages)
        found.rows = _interleaved(found, workers, foreign, callers, rounds, seconds, say)
    return found


def _interleaved(
    found: Found,
    workers: dict[str, Worker],
    foreign: Foreign,
    callers: Sequence[int],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Row]:
    rows = {(name, count): Row(name, count) for name in workers for count in callers}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for (name, count), row in rows.items():
            if name in found.missing:
                continue
            worker = workers[name]
            try:
                answer, share = foreign.quiet(lambda w=worker, c=count: w.slice(c, seconds))  # type: ignore[misc]
            except Missing as why:
                found.missing[name] = str(why)
                continue
            row.rounds.append(answer["calls_s"])
            row.p50s_us.append(answer["p50_us"])
            row.p99s_us.append(answer["p99_us"])
            row.cpus_us.append(answer["cpu_us"])
            row.rss_mb = max(row.rss_mb, answer["rss_mb"])
            row.foreign = max(row.foreign, share)
    return [row for row in rows.values() if row.contender not in found.missing]
