"""What it costs to give a fact on to an OpenTelemetry Collector."""

from __future__ import annotations

import time
from contextlib import ExitStack

import bench_telemetry
from bench_telemetry_peers import sink

from mesh_store.telemetry.exporters.opentelemetry import otlp
from suite.book import Page

TABLE = "Cost of a call: export"
#: As many as an exporter takes between two flushes.
_BATCH = 2_000


def measure(page: Page, facts: int, rounds: int) -> None:
    """Give facts to the sink of OTLP in batches; tell its processor time, all threads included."""
    taken = []
    with ExitStack() as stack:
        exporter = otlp(sink(stack))
        for _ in range(rounds):
            batches = [[bench_telemetry.fact() for _ in range(_BATCH)] for _ in range(facts // _BATCH)]
            began = time.process_time()
            for batch in batches:
                for fact in batch:
                    exporter.fact(fact)
                exporter.flush()
            taken.append((time.process_time() - began) * 1e6 / facts)
        exporter.close()
    page.tell(TABLE, "a span and its metrics over OTLP", "exporter's CPU", "us", taken)
