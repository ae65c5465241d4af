"""The worker of the suite that measures langfuse's SDK, exporting to a sink on loopback.

It reads a line ``["tight" | "processor" | "paced", count]`` and answers microseconds an event.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from typing import Any

from langfuse import Langfuse

ASK = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
METADATA = {
    "team": "018f0000-0000-7000-8000-000000000001",
    "key": "abcdefgh",
    "alias": "fast",
    "attempt": 1,
    "revision": 77,
    "host": "direct",
    "session": "s1",
}
USAGE = {"input": 812, "output": 143, "input_cached_tokens": 512}


def client(url: str) -> Any:
    """Return a client that exports in the background."""
    return Langfuse(public_key="pk-lf-bench", secret_key="sk-lf-bench", host=url, timeout=5)


def event(langfuse: Any) -> None:
    """Note one generation down, with what a call's fact says."""
    generation = langfuse.start_observation(
        name="chat",
        as_type="generation",
        model="gpt-5-mini",
        input=ASK,
        output="Paris",
        metadata=METADATA,
        usage_details=USAGE,
        cost_details={"total": 0.000489},
    )
    generation.end()


def measure(langfuse: Any, how: str, count: int) -> float:
    """Return microseconds an event; see `bench_telemetry` for the ways."""
    if how == "paced":
        return _paced(langfuse, count)
    clock = time.process_time if how == "processor" else time.perf_counter
    began = clock()
    for _ in range(count):
        event(langfuse)
    if how == "processor":
        langfuse.flush()
    return (clock() - began) / count * 1e6


def _paced(langfuse: Any, count: int, rate: float = 500.0) -> float:
    taken, due = [], time.perf_counter()
    for _ in range(count):
        due += 1 / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        began = time.perf_counter()
        event(langfuse)
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    figures, sys.stdout = sys.stdout, sys.stderr
    made = client(sys.argv[1])
    event(made)
    print("ready", file=figures, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(made, *json.loads(line))), file=figures, flush=True)
