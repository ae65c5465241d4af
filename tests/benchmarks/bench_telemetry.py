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
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import redis

from mesh_store.embedded import attach
from mesh_store.model.facts import Done, Fact, Settlement
from mesh_store.model.ids import new_id, now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.postgres import usage_write
from mesh_store.postgres.database import Database
from mesh_store.redis.stream import Batch
from mesh_store.telemetry import Recorder, drain
from mesh_store.telemetry.collector import COMMIT_FACTS
from mesh_store.telemetry.fact_store import FactStore

Case = Callable[[], object]

LIMITS = [Limit(amount=1000, period_us=60_000_000, burst=burst) for burst in (100, 200, 300, 400)]
RESERVATION = Reservation(
    new_id(),
    tuple(Charge(f"{{team}}:q:limit{at}", limit, 10) for at, limit in enumerate(LIMITS)),
    now_us(),
    now_us() + 60_000_000,
)
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2026-01-01",
    "gen_ai.response.id": "chatcmpl-abc",
    "gen_ai.usage.input_tokens": 812,
    "gen_ai.usage.output_tokens": 143,
    "gen_ai.usage.cache_read.input_tokens": 512,
    "gen_ai.response.finish_reasons": ("stop",),
    "mesh.team.id": new_id(),
    "mesh.user.id": new_id(),
    "mesh.key.id": "abcdefgh",
    "mesh.alias": "fast",
    "mesh.attempt": 1,
    "mesh.call.id": new_id(),
    "mesh.cost.pico_usd": 489_000_000,
    "mesh.price.version": "2026-01-01",
    "mesh.revision": 77,
    "mesh.host": "direct",
    "mesh.estimate_tokens": 1024,
    "mesh.session": "s1",
    "server.address": "api.openai.com",
}


class Quiet:
    """A settler that costs nothing: the limiter has a benchmark of its own."""

    def settle_all(self, settlements: Any) -> None:
        """Settle nothing."""

    def cancel(self, reservation_id: str, charges: Any) -> None:
        """Cancel nothing."""

    def renew(self, reservations: Any) -> None:
        """Renew nothing."""


def fact() -> Fact:
    """Build one with as many fields set as a real call sets."""
    return Fact(
        id=new_id(),
        call_id="01890000-0000-7000-8000-000000000000",
        attempt=1,
        started_at_us=now_us(),
        duration_us=1_200_000,
        ttft_us=300_000,
        outcome="ok",
        operation="chat",
        host="direct",
        team_id="018f0000-0000-7000-8000-000000000001",
        user_id="018f0000-0000-7000-8000-000000000002",
        key_id="abcdefgh",
        alias="fast",
        revision=77,
        provider="openai",
        request_model="gpt-5-mini",
        response_model="gpt-5-mini-2026-01-01",
        input_tokens=812,
        output_tokens=143,
        cache_read_tokens=512,
        cost_pico_usd=489_000_000,
        rate_card="2026-01-01",
        estimate_tokens=1024,
        finish_reason="stop",
        response_id="chatcmpl-abc",
        session="s1",
        reservation_id=RESERVATION.id,
    )


def recording(recorder: Recorder) -> Case:
    """Return one `done`, the building of its fact included."""

    def record() -> None:
        recorder.done(Done(fact(), Settlement(RESERVATION, (1, 955, 955, 955)), None))

    return record


SINK = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""


def otel_span(stack: ExitStack) -> Case | None:
    """Return one span with the same attributes, exported by OTLP; None without the SDK."""
    if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    stack.callback(sink.kill)
    assert sink.stdout
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{int(sink.stdout.readline())}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stack.callback(provider.shutdown)
    tracer = provider.get_tracer("bench")

    def span() -> None:
        tracer.start_span("chat gpt-5-mini", attributes=ATTRIBUTES).end()

    return span


def litellm_payload() -> Case | None:
    """Return one build of litellm's logging payload; None without litellm."""
    if importlib.util.find_spec("litellm") is None:
        return None
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it looks on the network otherwise
    import litellm
    from litellm.litellm_core_utils import litellm_logging

    messages = [{"role": "user", "content": "hello"}]
    started = datetime.now(UTC)
    logging = litellm_logging.Logging(
        model="gpt-5-mini",
        messages=messages,
        stream=False,
        call_type="completion",
        start_time=started,
        litellm_call_id="1",
        function_id="1",
    )
    logging.update_environment_variables(
        model="gpt-5-mini", user="", optional_params={}, litellm_params={"metadata": {}}
    )
    reply = litellm.ModelResponse(model="gpt-5-mini", usage={"prompt_tokens": 812, "completion_tokens": 143})
    given = {"model": "gpt-5-mini", "messages": messages, "litellm_params": {"metadata": {}}}

    def build() -> object:
        return litellm_logging.get_standard_logging_object_payload(
            kwargs=given,
            init_response_obj=reply,
            start_time=started,
            end_time=started,
            logging_obj=logging,
            status="success",
        )

    return build if build() is not None else None


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
    taken = []
    due = time.perf_counter()
    for _ in range(count):
        due += 1 / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        started = time.perf_counter()
        case()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


def interleaved(cases: dict[str, Case], rounds: int, measure: Callable[[Case], float]) -> dict[str, float]:
    """Return the median of each case over rounds that take turns."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(measure(case))
    return {name: statistics.median(values) for name, values in found.items()}


def shipping(url: str, home: Path, count: int) -> tuple[float, float]:
    """Return facts a second from a dead process' ring to the stream, and with one XADD per fact."""
    dead = Recorder(home, "unix:///nowhere", settler=Quiet())
    case = recording(dead)
    for _ in range(count):
        case()
    dead.close(0.0)
    started = time.perf_counter()
    assert drain(home, url, settler=Quiet(), timeout_s=120).facts == count
    ours = count / (time.perf_counter() - started)
    client = redis.Redis.from_url(url)
    encode = msgspec.msgpack.Encoder().encode
    facts = [encode(fact()) for _ in range(count // 10)]
    started = time.perf_counter()
    for encoded in facts:
        client.xadd("one-by-one", {"fact": encoded})
    theirs = len(facts) / (time.perf_counter() - started)
    client.delete("one-by-one")
    return ours, theirs


INSERT = f"""INSERT INTO usage_events ({
    ", ".join("started_at" if c == "started_at_us" else c for c in usage_write.COLUMNS)
})
VALUES ({
    ", ".join(
        f"'epoch'::timestamptz + ${n} * interval '1 microsecond'" if c == "started_at_us" else f"${n}"
        for n, c in enumerate(usage_write.COLUMNS, start=1)
    )
}) ON CONFLICT (id) DO NOTHING"""


async def collecting(database_url: str, rounds: int) -> tuple[float, float]:
    """Return facts a second with rows, dedupe and rollups, and with asyncpg's executemany of rows alone."""
    store = await FactStore.open(database_url)
    bare = await asyncpg.connect(database_url)
    ours, theirs = [], []
    encode = msgspec.msgpack.Encoder().encode
    for _ in range(rounds + 1):
        facts = [msgspec.structs.replace(fact(), alias=f"a{n % 20}") for n in range(COMMIT_FACTS)]
        batches = [
            Batch("r", 1, at, at + 500, 500, encode(facts[at : at + 500]))
            for at in range(0, COMMIT_FACTS, 500)
        ]
        started = time.perf_counter()
        await store.store(batches)
        ours.append(COMMIT_FACTS / (time.perf_counter() - started))
        rows = [usage_write._row(fact()) for _ in range(COMMIT_FACTS)]
        started = time.perf_counter()
        async with bare.transaction():
            await bare.executemany(INSERT, rows)
        theirs.append(COMMIT_FACTS / (time.perf_counter() - started))
    await bare.close()
    await store.close()
    return statistics.median(ours[1:]), statistics.median(theirs[1:])


async def migrate(url: str) -> None:
    """Make the tables."""
    async with Database(url) as database:
        await database.migrate()


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
        shipped, single = shipping(engines.redis_url, home, options.facts)
        show("to the stream", {"mesh": shipped, "one XADD per fact": single}, "/s", "one XADD per fact")
        asyncio.run(migrate(engines.database_url))
        stored, bare = asyncio.run(collecting(engines.dsn, options.rounds))
        rows = {"mesh: rows, dedupe, rollups, ledger": stored, "asyncpg executemany, rows only": bare}
        show("into Postgres, batches of 5,000", rows, "/s", "asyncpg executemany, rows only")


if __name__ == "__main__":
    main()
