"""Noting a call down, shipping it and collecting it, beside what people use instead."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bench_telemetry as bench
from bench_telemetry_collecting import collecting
from bench_telemetry_peers import litellm_payload, otel_span, sink

from mesh_store.embedded import attach
from mesh_store.telemetry import Recorder
from suite.book import Page
from suite.environments import Missing, versions
from suite.stage import Stage

_OURS = "Mesh: fact, settlement, ring"
_OTEL, _LITELLM, _LANGFUSE = "OpenTelemetry span, OTLP", "litellm's logging payload", "langfuse generation"
_WAYS: dict[str, tuple[str, Callable[[bench.Case, int], float]]] = {
    "tight": ("a record", bench.tight),
    "processor": ("CPU of all threads", bench.processor),
    "paced": ("a record, 500 a second", bench.paced),
}
#: Records of one slice, each way; the second number is for a quick look.
_COUNTS = {"tight": (2_000, 500), "processor": (2_000, 500), "paced": (300, 100)}


def run(page: Page, stage: Stage) -> None:
    """Measure recording, then shipping, then collecting."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-bench-")))
        engines = stack.enter_context(attach(home / "engines"))
        recorder = Recorder(home, engines.redis_url, settler=bench.Quiet())
        stack.callback(recorder.close)
        _recording(page, stage, stack, recorder)
        count = 2_000 if stage.quick else 20_000
        shipped = bench.shipping(engines.redis_url, home, count, stage.rounds)
        for name, rounds in shipped.items():
            page.tell("Facts to the stream", name, "facts/s", "/s", rounds)
        collected = asyncio.run(collecting(engines.database_url, engines.dsn, stage.rounds, bench.fact))
        for name, rounds in collected.items():
            page.tell("Facts into Postgres, batches of 5,000", name, "facts/s", "/s", rounds)


def _recording(page: Page, stage: Stage, stack: ExitStack, recorder: Recorder) -> None:
    there = {_OURS: bench.recording(recorder), _OTEL: otel_span(stack), _LITELLM: litellm_payload()}
    cases = {name: case for name, case in there.items() if case is not None}
    for name in there.keys() - cases.keys():
        page.without(name, "it is not installed beside Mesh")
    measures: dict[str, Callable[[str, int], float]] = {
        name: lambda how, count, case=case: _WAYS[how][1](case, count)  # type: ignore[misc]
        for name, case in cases.items()
    }
    try:
        measures[_LANGFUSE] = stack.enter_context(_langfuse(page, stage, stack))
    except Missing as why:
        page.without(_LANGFUSE, why)
    for how, (column, _) in _WAYS.items():
        count = _COUNTS[how][stage.quick]
        rounds: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(stage.rounds):
            for name, measure in measures.items():
                rounds[name].append(stage.quiet(lambda m=measure: m(how, count)))  # type: ignore[misc]  # noqa: B023
        for name, taken in rounds.items():
            page.tell("Noting a call down", name, column, "us", taken)


@contextmanager
def _langfuse(page: Page, stage: Stage, stack: ExitStack) -> Iterator[Callable[[str, int], float]]:
    """Start langfuse's SDK in an environment of its own; yields what measures it."""
    python = stage.environments.python(("langfuse",))
    script = Path(bench.__file__).with_name("bench_telemetry_langfuse.py")
    command = [str(python), str(script), sink(stack)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin
        assert process.stdout
        write, read = process.stdin, process.stdout

        def measure(how: str, count: int) -> float:
            print(json.dumps([how, count]), file=write, flush=True)
            return float(json.loads(read.readline()))

        try:
            if not read.readline():
                raise Missing("its worker could not note anything down")
            page.book.versions |= versions(python, ("langfuse",))
            yield measure
        finally:
            process.kill()
