"""Interleaved rounds over many workers, each in its own process, on a machine that may not be quiet."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
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
        p50_us, p99_us: latency as a caller sees it; medians over the rounds.
        cpu_us: processor time a call takes in the caller's own process.
        rss_mb: most memory the caller's process had after a slice.
        foreign: the largest share of the machine others used in a slice that counted.
    """

    contender: str
    callers: int
    rounds: list[float] = field(default_factory=list)
    p50_us: float = 0.0
    p99_us: float = 0.0
    cpu_us: float = 0.0
    rss_mb: float = 0.0
    foreign: float = 0.0

    @property
    def calls_s(self) -> float:
        """Median calls a second."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, object]:
        """Return what `results.json` holds of it."""
        return {**asdict(self), "calls_s": self.calls_s, "least": min(self.rounds), "most": max(self.rounds)}


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
        refused: slices that were measured again because others used the machine.
    """

    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    refused: int = 0


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
        found.rows = _interleaved(workers, foreign, callers, rounds, seconds, say)
    found.refused = foreign.refused
    return found


def _interleaved(
    workers: dict[str, Worker],
    foreign: Foreign,
    callers: Sequence[int],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Row]:
    rows = {(name, count): Row(name, count) for name in workers for count in callers}
    slices: dict[tuple[str, int], list[dict[str, float]]] = {at: [] for at in rows}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for (name, count), row in rows.items():
            worker = workers[name]
            answer, share = foreign.quiet(lambda w=worker, c=count: w.slice(c, seconds))  # type: ignore[misc]
            slices[name, count].append(answer)
            row.rounds.append(answer["calls_s"])
            row.foreign = max(row.foreign, share)
    for at, row in rows.items():
        for told in ("p50_us", "p99_us", "cpu_us"):
            setattr(row, told, statistics.median(answer[told] for answer in slices[at]))
        row.rss_mb = max(answer["rss_mb"] for answer in slices[at])
    return list(rows.values())
