"""What others hear of facts: spans and metrics of the call's own time, bounded labels, alerts once."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import threading
from typing import Any

import redis
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh_store.telemetry.exporters.feed import EXPORTS, LISTENING
from mesh_store.telemetry.exporters.names import LATEST, V1_41, names
from mesh_store.telemetry.exporters.opentelemetry import OpenTelemetry
from mesh_store.telemetry.exporters.prometheus import Prometheus
from mesh_store.telemetry.exporters.running import Exporter
from tests.outputs.hearing import Sink, collect, export, exposed


class Otel:
    """An output into memory."""

    def __init__(self, profile: Any = V1_41) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.sink = OpenTelemetry(SimpleSpanProcessor(self.exporter), self.reader, profile)

    @property
    def points(self) -> dict[str, list[Any]]:
        data: Any = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return {metric.name: list(metric.data.data_points) for metric in found}


def test_a_span_has_the_times_the_parent_and_the_names_of_the_call(place: Any) -> None:
    otel = Otel()
    otel.sink.fact(
        place.fact(
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
            started_at_us=1_700_000_000_000_001,
            duration_us=250_000,
            cache_write_tokens=10,
            finish_reason="stop",
            user_id="u1",
        )
    )
    (span,) = otel.exporter.get_finished_spans()
    assert (span.name, span.kind.name) == ("chat gpt-5-mini", "CLIENT")
    assert (span.start_time, span.end_time) == (1_700_000_000_000_001_000, 1_700_000_000_250_001_000)
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    said = dict(span.attributes or {})
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "openai"
    assert said["gen_ai.usage.cache_creation.input_tokens"] == 10
    assert said["gen_ai.response.finish_reasons"] == ("stop",)
    assert (said["mesh.user.id"], said["mesh.cost.pico_usd"]) == ("u1", 650_000_000)
    assert "error.type" not in said


def test_each_attribute_of_a_span_says_what_its_name_says(place: Any) -> None:
    otel, when = Otel(), {"started_at_us": 1_700_000_000_000_001, "duration_us": 3}
    told = {
        "operation": ("gen_ai.operation.name", "embeddings"),
        "provider": ("gen_ai.provider.name", "own-name"),
        "request_model": ("gen_ai.request.model", "asked"),
        "stream": ("gen_ai.request.stream", True),
        "session": ("gen_ai.conversation.id", "s1"),
        "response_id": ("gen_ai.response.id", "r1"),
        "response_model": ("gen_ai.response.model", "answered"),
        "ttft_us": ("gen_ai.response.time_to_first_chunk", 0.25),
        "input_tokens": ("gen_ai.usage.input_tokens", 11),
        "output_tokens": ("gen_ai.usage.output_tokens", 12),
        "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", 13),
        "cache_write_tokens": ("gen_ai.usage.cache_creation.input_tokens", 14),
        "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", 15),
        "error_type": ("error.type", "timeout"),
        "status": ("http.response.status_code", 504),
        "team_id": ("mesh.team.id", "t1"),
        "user_id": ("mesh.user.id", "u1"),
        "key_id": ("mesh.key.id", "k1"),
        "alias": ("mesh.alias", "a1"),
        "attempt": ("mesh.attempt", 2),
        "call_id": ("mesh.call.id", "c1"),
        "cost_pico_usd": ("mesh.cost.pico_usd", 16),
        "rate_card": ("mesh.price.version", "p1"),
        "outcome": ("mesh.outcome", "incomplete"),
        "estimated": ("mesh.usage.estimated", True),
    }
    fields = {field: value for field, (_, value) in told.items()} | {"ttft_us": 250_000}
    otel.sink.fact(place.fact(**fields, **when))
    (span,) = otel.exporter.get_finished_spans()
    assert dict(span.attributes or {}) == dict(told.values())
    assert span.status.status_code.name == "ERROR"


def test_each_metric_measures_what_its_name_says(place: Any) -> None:
    otel, prometheus = Otel(), Prometheus()
    fact = place.fact(
        alias_id="a1",
        duration_us=4_000_000,
        ttft_us=250_000,
        input_tokens=11,
        output_tokens=12,
        cache_read_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        cost_pico_usd=2_500_000_000_000,
    )
    otel.sink.fact(fact)
    prometheus.fact(fact)
    points = otel.points
    assert [point.sum for point in points["gen_ai.client.operation.duration"]] == [4.0]
    assert [point.sum for point in points["gen_ai.client.operation.time_to_first_chunk"]] == [0.25]
    assert [point.value for point in points["mesh.client.cost"]] == [2.5]
    tokens = {
        dict(point.attributes)["gen_ai.token.type"]: point.sum
        for point in points["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 11, "output": 12}
    said = {}
    for line in exposed(prometheus).splitlines():
        name, _, value = line.rpartition(" ")
        kind = re.search(r'type="(\w+)"', name)
        said[(name.partition("{")[0], kind and kind[1])] = value
    kinds = {"input": 11, "output": 12, "cache_read": 3, "cache_write": 4, "reasoning": 5}
    for kind, count in kinds.items():
        assert float(said["mesh_tokens_total", kind]) == count
    assert float(said["mesh_cost_usd_total", None]) == 2.5
    sums = {name: float(value) for (name, _), value in said.items() if name.endswith("_sum")}
    assert sorted(sums.values()) == [0.25, 4.0]
    assert {name for name, value in sums.items() if value == 0.25} == {
        name for name in sums if "first" in name
    }


def test_losses_that_are_told_again_are_not_counted_again() -> None:
    prometheus = Prometheus()
    for count in (3, 3, 5, 2):
        prometheus.health(0, {"facts": count})
    (line,) = [
        line
        for line in exposed(prometheus).splitlines()
        if line.startswith("mesh_") and 'type="facts"' in line and "_created" not in line
    ]
    assert line.endswith(" 5.0")


def test_metrics_carry_no_user_key_or_name_a_caller_made_up(place: Any) -> None:
    otel, prometheus = Otel(), Prometheus()
    odd = {"alias": "made-up-by-caller", "attempt": 0, "outcome": "denied", "provider": None}
    for fact in (
        place.fact(user_id="someone", key_id="secretid", alias_id="a1", end_user="them", ttft_us=9_000),
        place.fact(**odd, request_model=None, error_type="UnknownAlias"),
        place.fact(outcome="error", error_type="timeout", alias_id="a1", cost_pico_usd=None),
        place.fact(alias_id="a1", flags=("shadow_denied",), cost_pico_usd=0),
        place.fact(alias_id="a1", flags=("unenforced",), cost_pico_usd=0),
    ):
        otel.sink.fact(fact)
        prometheus.fact(fact)
    points = otel.points
    assert {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"} <= set(points)
    assert sum(point.count for point in points["gen_ai.client.operation.duration"]) == 4
    assert sum(point.value for point in points["mesh.client.shadow_denied"]) == 1
    assert sum(point.value for point in points["mesh.client.unenforced"]) == 1
    written = repr([dict(p.attributes) for found in points.values() for p in found]) + exposed(prometheus)
    for word in ("someone", "secretid", "them", "made-up-by-caller"):
        assert word not in written
    shown = exposed(prometheus)
    where = f'alias="fast",model="gpt-5-mini",provider="openai",team="{place.team_id}"'
    assert f"mesh_cost_usd_total{{{where}}} 0.00065" in shown
    assert 'mesh_unpriced_total{model="gpt-5-mini",provider="openai"} 1.0' in shown
    assert f"mesh_shadow_denied_total{{{where}}} 1.0" in shown
    assert f"mesh_unenforced_total{{{where}}} 1.0" in shown
    assert 'alias="unknown"' in shown


def test_labels_overflow_into_other_instead_of_growing(place: Any) -> None:
    output = Prometheus()
    for number in range(1_000):
        output.fact(place.fact(alias_id="a", alias=f"alias{number}"))
    lines = [line for line in exposed(output).splitlines() if line.startswith("mesh_attempts_total{")]
    assert len(lines) == 201
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 1_000
    assert any('alias="other"' in line and line.endswith(" 800.0") for line in lines)


def test_the_environment_chooses_the_profile_of_names() -> None:
    assert names({}) is V1_41
    assert names({"OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental"}) is LATEST
    assert LATEST.cache_write == "gen_ai.usage.cache_write.input_tokens"
    assert len(set(V1_41)) == len(V1_41)


def test_what_is_committed_reaches_every_sink_and_a_broken_one_stops_nobody(place: Any) -> None:
    good, bad = Sink(), Sink(fails=True)
    export(place, [bad, good], rounds=3)
    assert len(good.facts) == 6
    assert {fact.team_id for fact in good.facts} == {place.team_id}


def test_nothing_is_kept_for_exporters_while_none_runs(place: Any) -> None:
    client = redis.Redis.from_url(place.facts_url)
    client.delete(EXPORTS, LISTENING)
    place.send(place.fact())
    asyncio.run(collect(place))
    assert client.xlen(EXPORTS) == 0
    client.close()


def test_a_batch_that_is_told_twice_counts_once(place: Any) -> None:
    sink = Sink()

    async def run() -> None:
        exporter = Exporter(place.facts_url, [sink], group=place.team)
        await exporter.once()
        place.send(place.fact())
        await collect(place)
        client = redis.Redis.from_url(place.facts_url)
        ((_, fields),) = client.xrevrange(EXPORTS, count=1)
        client.xadd(EXPORTS, fields)
        client.close()
        await exporter.once()
        await exporter.close()

    asyncio.run(run())
    assert len(sink.facts) == 1


def test_dashboards_fit_any_grafana_they_are_imported_to(place: Any) -> None:
    for source in ("prometheus", "postgres"):
        made = json.loads(place("telemetry", "dashboard", source))
        assert made["uid"] == f"mesh-{source}"
        assert "id" not in made
        assert {panel["datasource"]["uid"] for panel in made["panels"]} == {"${source}"}
        assert len({panel["title"] for panel in made["panels"]}) == len(made["panels"])


def test_a_span_is_sent_over_otlp(place: Any, hook: Any) -> None:
    """The official exporter posts to both paths of an endpoint."""
    from mesh_store.telemetry.exporters.opentelemetry import otlp

    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    sink = otlp(f"http://127.0.0.1:{server.server_port}")
    sink.fact(place.fact())
    sink.close()
    server.shutdown()
    server.server_close()
    thread.join()
    assert {"/v1/traces", "/v1/metrics"} <= set(paths)
