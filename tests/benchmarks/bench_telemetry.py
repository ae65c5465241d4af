"""What telemetry costs: recording, shipping and collecting, against what people use instead.

::

    python tests/benchmarks/bench_telemetry.py [--rounds 5] [--facts 20000]

Starts a Postgres and a Valkey of its own. OpenTelemetry's SDK (with OTLP over HTTP to a sink on loopback)
and litellm's logging payload are measured beside ours when they are installed. Rounds are interleaved and
medians compared; only the ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import redis
from bench_telemetry_call import ACTUAL, RESERVATION, fact
from bench_telemetry_collecting import EXECUTEMANY, collecting
from bench_telemetry_peers import Case, litellm_payload, otel_span

from mesh_store.embedded import attach
from mesh_store.model.facts import Done, Settlement
from mesh_store.redis.stream import stream_key
from mesh_store.telemetry import Recorder, drain

ONE_BY_ONE = "one XADD per fact"
_encode = msgspec.msgpack.Encoder().encode


class Quiet:
    """A settler that costs nothing: the limiter has a benchmark of its own."""

    def settle_all(self, settlements: Any) -> None:
        """Settle nothing."""

    def cancel(self, reservation_id: str, charges: Any) -> None:
        """Cancel nothing."""

    def renew(self, reservations: Any) -> None:
        """Renew nothing."""


def recording(recorder: Recorder) -> Case:
    """Return one `done`, the making of its fact included."""

    def record() -> None:
        recorder.done(Done(fact(), Settlement(RESERVATION, ACTUAL), None))

    return record


def tight(case: Case, count: int) -> float:
    """Return microseconds a call, one after the other."""
    started = time.perf_counter()
    for _ in range(count):
        case()
    return (time.perf_counter() - started) / count * 1e6


def processor(case: Case, count: int) -> float:
    """Return microseconds of processor time a call, background threads included."""
    started = time.process_time()
    for _ in range(count):
        case()
    time.sleep(0.2)
    return (time.process_time() - started) / count * 1e6


def paced(case: Case, count: int, rate: float = 500.0) -> float:
    """Return the median microseconds of a call at a steady rate."""
    return statistics.median(_each(case, count, rate))


def _each(case: Case, count: int, rate: float = 500.0) -> list[float]:
    """Return the microseconds of each call at a steady rate."""
    taken = []
    due = time.perf_counter()
    for _ in range(count):
        due += 1 / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        started = time.perf_counter()
        case()
        taken.append((time.perf_counter() - started) * 1e6)
    return taken


def interleaved(cases: dict[str, Case], rounds: int, measure: Callable[[Case], float]) -> dict[str, float]:
    """Return the median of each case over rounds that take turns."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(measure(case))
    return medians(found)


def shipping(url: str, home: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """Return facts a second to the stream: of this process, of a dead one's ring, and one XADD per fact.

    One figure a round.
    """
    client = redis.Redis.from_url(url)
    found: dict[str, list[float]] = {"mesh": [], "mesh, ring of a dead process": [], ONE_BY_ONE: []}
    for number in range(rounds):
        found["mesh"].append(_living(url, home / f"alive{number}", count))
        found["mesh, ring of a dead process"].append(_dead(url, home / f"dead{number}", count))
        facts = [_encode(fact()) for _ in range(count // 10)]
        started = time.perf_counter()
        for encoded in facts:
            client.xadd("one-by-one", {"fact": encoded})
        found[ONE_BY_ONE].append(len(facts) / (time.perf_counter() - started))
        client.delete("one-by-one", stream_key(0))
    return found


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    """Return the middle of each case's rounds."""
    return {name: statistics.median(values) for name, values in found.items()}


def _living(url: str, home: Path, count: int) -> float:
    """Deliver by hand what is recorded in between, as the thread does: settled, then shipped."""
    recorder = Recorder(home, url, settler=Quiet())
    pipeline = recorder._pipeline
    assert pipeline is not None
    pipeline.shipper.stop(5)
    delivery, case, taken = pipeline.delivery, recording(recorder), 0.0
    for _ in range(count // 500):
        for _ in range(500):
            case()
        started = time.perf_counter()
        while delivery.settled < pipeline.file.ring.head:
            delivery.settle()
        while delivery.ship(started, force=True):
            pass
        taken += time.perf_counter() - started
    assert delivery.facts == count
    recorder.close(0.0)
    return count / taken


def _dead(url: str, home: Path, count: int) -> float:
    dead = Recorder(home, "unix:///nowhere", settler=Quiet())
    case = recording(dead)
    for _ in range(count):
        case()
    dead.close(0.0)
    started = time.perf_counter()
    assert drain(home, url, settler=Quiet(), timeout_s=120).facts == count
    return count / (time.perf_counter() - started)


def outage(url: str, home: Path, rounds: int) -> dict[str, float]:
    """Return what a record costs at a steady rate with the server there and away: median and 99th percentile.

    A record touches neither server; what it could wait for is the thread that tries to reach them.
    """
    there = Recorder(home / "there", url, settler=Quiet())
    away = Recorder(home / "away", "unix:///nowhere", settler=Quiet())
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, recorder in (("there", there), ("away", away)):
            found.setdefault(name, []).extend(_each(recording(recorder), 500))
    there.close()
    away.close(0.0)
    rows = {}
    for name, taken in found.items():
        cuts = statistics.quantiles(taken, n=100)
        rows[f"server {name}, median"], rows[f"server {name}, p99"] = cuts[49], cuts[98]
    return rows


def show(title: str, rows: dict[str, float], unit: str, base: str) -> None:
    """Print a table with ratios to ``base``."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:44} {value:12,.1f} {unit}   {value / rows[base]:8.2f}x")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--facts", type=int, default=20_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-bench-")))
        engines = stack.enter_context(attach(home / "engines"))
        recorder = Recorder(home, engines.redis_url, settler=Quiet())
        stack.callback(recorder.close)
        found_cases = {
            "mesh: fact, settlement, ring": recording(recorder),
            "OpenTelemetry span, OTLP over HTTP": otel_span(stack),
            "litellm StandardLoggingPayload": litellm_payload(),
        }
        cases = {name: case for name, case in found_cases.items() if case is not None}
        ours = next(iter(cases))
        found = interleaved(cases, options.rounds, lambda case: tight(case, 2_000))
        show("in a tight loop, the building included", found, "us", ours)
        found = interleaved(cases, options.rounds, lambda case: processor(case, 2_000))
        show("the same in processor time, background threads included", found, "us", ours)
        found = interleaved(cases, options.rounds, lambda case: paced(case, 500))
        show("paced, 500 a second (median)", found, "us", ours)
        found = outage(engines.redis_url, home, options.rounds)
        show("paced, with the server there and away", found, "us", "server there, median")
        found = medians(shipping(engines.redis_url, home, options.facts, options.rounds))
        show("to the stream", found, "/s", ONE_BY_ONE)
        found = medians(asyncio.run(collecting(engines.database_url, engines.dsn, options.rounds, fact)))
        show("into Postgres, batches of 5,000", found, "/s", EXECUTEMANY)


if __name__ == "__main__":
    main()
