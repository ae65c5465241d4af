"""The outputs of `mesh serve` and `mesh collect`, as processes: a real call is on every one of them."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mesh_plugins.outputs import Asked
from mesh_store.model.errors import ConfigError
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters.apart import exporting
from mesh_store.telemetry.exporters.opentelemetry import otlp
from mesh_store.telemetry.exporters.running import Exporter

ROOT = Path(__file__).resolve().parents[2]
ASK = [{"role": "user", "content": "tell me something true"}]


class Receiver:
    """What an OTLP collector and a webhook are from outside: paths and bodies over HTTP.

    Attributes:
        base: its address.
        posts: path and body of everything that came.
        hold: while it is clear, answers wait.
    """

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.hold = threading.Event()
        self.hold.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.posts.append((self.path, body))
                outer.hold.wait(30)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Any]:
        found = [ExportTraceServiceRequest.FromString(b) for path, b in self.posts if path == "/v1/traces"]
        return [
            s for each in found for r in each.resource_spans for scope in r.scope_spans for s in scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        found = [ExportMetricsServiceRequest.FromString(b) for path, b in self.posts if path == "/v1/metrics"]
        return {
            metric.name: metric
            for each in found
            for resource in each.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def alerts(self) -> list[Any]:
        return [json.loads(body) for path, body in self.posts if path == "/hook"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def eventually(true: Callable[[], object], what: str, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"it never came to pass that {what}"
        time.sleep(0.05)


@contextmanager
def running(world: Any, *command: str, **environment: str) -> Iterator[str]:
    """A process of ours; yields what it says first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MESH_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "mesh_plugins.cli", *command],
        cwd=ROOT,
        env=inherited | world.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline() if command[0] == "serve" else ""
        process.terminate()
        _, complaints = process.communicate(timeout=240)
        assert process.returncode == 0, complaints
    finally:
        process.kill()
        process.communicate()


def attributes(span: Any) -> dict[str, Any]:
    said = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        said[each.key] = getattr(each.value, kind)
    return said


def test_a_real_call_is_on_the_page_in_the_collector_and_in_one_alert(make_world: Any, receiver: Any) -> None:
    world = make_world()
    alias = world.alias(models=("gpt-4o-mini",))
    world.run(
        lambda admin: admin.set_price(provider=world.name("local"), model="gpt-4o-mini", input=1000, output=0)
    )
    mesh = world.mesh()
    cost = mesh.chat(alias, ASK, max_tokens=1).mesh.cost
    assert cost
    cap = (cost * 40).quantize(Decimal("0.000001"))
    world.limit(f"${cap}/day")
    said = {
        "MESH_METRICS": "open",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.base,
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "MESH_WEBHOOKS": f"{receiver.base}/hook",
    }
    with running(world, "serve", "--port", "0", "--no-publish", **said) as line:
        address = line.removeprefix("serving on ").strip()
        world.collect()  # a budget is closed until a collector has said what was spent
        calls, spent = 0, Decimal(0)
        while spent < cap * Decimal("0.8"):
            spent += mesh.chat(alias, ASK, max_tokens=1).mesh.cost
            calls += 1
            assert mesh.flush(10)  # or what is open counts at its estimate
        assert mesh.flush(20, collected=True)

        def page() -> str:
            return httpx.get(f"{address}/metrics").text

        eventually(lambda: f'mesh_attempts_total{{alias="{alias}"' in page(), "the call is on the page")
        assert world.key_id not in page()
        eventually(lambda: [a for a in receiver.alerts if a["percent"] == 80], "80 % is told")
        eventually(lambda: len(mine(receiver, world)) >= calls, "the spans have arrived")
        eventually(lambda: "gen_ai.client.token.usage" in receiver.metrics, "the metrics have arrived")
    said = attributes(mine(receiver, world)[0])
    assert said["gen_ai.request.model"] == "gpt-4o-mini"
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.usage.output_tokens"] > 0
    assert said["mesh.alias"] == alias
    assert {"gen_ai.client.operation.duration", "mesh.client.cost"} <= set(receiver.metrics)
    assert world.key_id not in str(receiver.metrics)
    (alert,) = [a for a in receiver.alerts if a["percent"] == 80]
    assert alert["whose"] == f"team {world.team}"
    assert Decimal("0.8") <= Decimal(alert["spent_usd"]) / Decimal(alert["limit_usd"]) < 1


def mine(receiver: Any, world: Any) -> list[Any]:
    return [span for span in receiver.spans if attributes(span).get("mesh.key.id") == world.key_id]


def test_a_collector_exports_without_a_server(make_world: Any, receiver: Any) -> None:
    world = make_world()
    alias, mesh = world.alias(), world.mesh()
    said = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.base}/v1/traces"}
    with running(world, "collect", "--no-publish", **said):
        eventually(lambda: mesh.chat(alias, ASK) and mine(receiver, world), "a span has arrived")
    assert receiver.metrics == {}


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"MESH_METRICS": "maybe"}, "token, open or off"),
        ({"MESH_WEBHOOKS": "https://fine.example/ ftp://secret@x"}, "number 2"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
    ],
)
def test_outputs_that_cannot_be_are_refused_by_their_variable(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint) as refused:
        Asked.from_env(environment)
    assert "secret" not in str(refused.value)


def test_otlp_is_silent_unless_it_is_told_where_to() -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    assert Asked.from_env({}) == Asked()
    assert (Asked.from_env(endpoint).spans, Asked.from_env(endpoint).measures) == (True, True)
    assert not Asked.from_env(endpoint | {"OTEL_SDK_DISABLED": "true"}).spans
    assert not Asked.from_env(endpoint | {"OTEL_TRACES_EXPORTER": "none"}).spans
    one = Asked.from_env({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x/v1/metrics"})
    assert (one.spans, one.measures) == (False, True)


async def collected(place: Any) -> Any:
    collector = Collector(
        place.engines.database_url, place.facts_url, settle_redis_url=place.engines.redis_url
    )
    try:
        return await collector.collect_once()
    finally:
        await collector.close()


async def stored(place: Any) -> int:
    sql = "SELECT count(*) AS n FROM usage_events WHERE team_id = $1"
    return int((await asyncio.to_thread(place.query, sql, place.team_id))[0]["n"])


class Hanging:
    """A plugin's sink that does not come back."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def fact(self, fact: Any) -> None:
        self.entered.set()
        self.release.wait(60)


async def test_outputs_that_hang_or_refuse_hold_up_no_collector(
    place: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh_store.telemetry.exporters.apart.LAST_WORDS_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    hanging = Hanging()
    receiver.hold.clear()
    exporters = [
        Exporter(place.facts_url, [hanging], group=f"{place.team}-1"),
        Exporter(place.facts_url, [otlp(receiver.base)], group=f"{place.team}-2"),
        Exporter(place.facts_url, [otlp("http://127.0.0.1:9")], group=f"{place.team}-3"),
    ]
    async with exporting(exporters):
        for number in range(20):
            place.send(*[place.fact() for _ in range(50)])
            await collected(place)
            if number == 0:
                assert await asyncio.to_thread(hanging.entered.wait, 20)
        assert await stored(place) == 1_000
    receiver.hold.set()
    hanging.release.set()


async def test_a_burst_loses_no_span(place: Any, receiver: Any) -> None:
    """OpenTelemetry's own queue of 2,048 would drop the rest unseen."""
    exporter = Exporter(place.facts_url, [otlp(receiver.base, metrics=False)], group=place.team)
    await exporter.once()
    for _ in range(12):
        place.send(*[place.fact() for _ in range(512)])
    await collected(place)
    while await exporter.once():
        pass
    await exporter.close()
    ours = [span for span in receiver.spans if attributes(span)["mesh.team.id"] == place.team_id]
    assert len(ours) == 12 * 512
