"""What others hear of facts: spans and metrics of the call's own time, bounded labels, alerts once."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh_store.model.facts import Settlement
from mesh_store.model.ids import now_us
from mesh_store.model.limits import Charge, Limit, Reservation
from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage_latency import percentile
from mesh_store.telemetry import spending
from mesh_store.telemetry.collector import Collector
from mesh_store.telemetry.exporters import grafana
from mesh_store.telemetry.exporters.feed import EXPORTS, LISTENING
from mesh_store.telemetry.exporters.names import LATEST, V1_41, names
from mesh_store.telemetry.exporters.opentelemetry import OpenTelemetry
from mesh_store.telemetry.exporters.prometheus import Prometheus
from mesh_store.telemetry.exporters.registry import METRICS
from mesh_store.telemetry.exporters.running import Exporter

DAY = Limit(amount=10**13, period_us=86_400_000_000, kind="window", tz="UTC")


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


def exposed(output: Prometheus) -> str:
    """Ask the ASGI application as a server does."""
    sent: list[Any] = []

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await output.asgi(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    return b"".join(message.get("body", b"") for message in sent).decode()


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


def export(place: Any, sinks: list[Any], rounds: int = 1, **options: Any) -> Any:
    """Run an exporter beside a collector; returns what the sinks got."""

    async def run() -> None:
        given = {"database_url": place.engines.database_url} | options
        exporter = Exporter(place.facts_url, sinks, group=place.team, **given)
        await exporter.once()
        await exporter.check_budgets()
        for _ in range(rounds):
            place.send(place.fact(alias_id="a1"), place.fact(alias_id="a1"))
            await collect(place)
            await exporter.once()
        await exporter.close()

    asyncio.run(run())


async def collect(place: Any) -> None:
    collector = Collector(
        place.engines.database_url, place.facts_url, settle_redis_url=place.engines.redis_url
    )
    await collector.collect_once()
    await collector.close()


class Sink:
    """A plugin's sink."""

    def __init__(self, fails: bool = False) -> None:
        self.facts: list[Any] = []
        self.alerts: list[Any] = []
        self.fails = fails

    def fact(self, fact: Any) -> None:
        if self.fails:
            raise RuntimeError("broken")
        self.facts.append(fact)

    def budget_alert(self, alert: Any) -> None:
        self.alerts.append(alert)


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


@pytest.fixture
def hook() -> Iterator[Any]:
    """A webhook that keeps what it is told; ``answers`` are its next status codes."""
    told: list[Any] = []
    answers: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = answers.pop(0) if answers else 204
            if status < 300:
                told.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told, answers
    server.shutdown()
    server.server_close()
    thread.join()


def spend(place: Any, limit: Any, pico: int) -> None:
    fact = place.fact()
    charge = Charge(f"{{{place.team_id}}}:q:{limit.id}", DAY, pico)
    reservation = Reservation(fact.call_id, (charge,), now_us(), now_us() + 10**9)
    spent = spending.spending_of(Settlement(reservation, (pico,)), fact.id)
    assert spent is not None
    place.send(fact, money=spending.encode([spent]))
    asyncio.run(collect(place))


def test_a_budget_is_told_once_at_each_threshold_and_again_when_nobody_took_it(place: Any, hook: Any) -> None:
    url, told, answers = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))

    def mine() -> list[Any]:
        export(place, [], rounds=0, webhooks=[url])
        return [(alert["percent"], alert["spent_usd"]) for alert in told if alert["limit_id"] == limit.id]

    assert mine() == []
    spend(place, limit, 5 * 10**12)
    answers.append(503)
    assert mine() == []
    assert mine() == [(50, "5")]
    assert mine() == [(50, "5")]
    spend(place, limit, 5 * 10**12)
    assert mine() == [(50, "5"), (100, "10")]
    (alert, *_) = [alert for alert in told if alert["limit_id"] == limit.id]
    assert (alert["whose"], alert["limit_usd"]) == (f"team {place.team}", "10")


def test_of_several_processes_that_watch_one_tells(place: Any, hook: Any) -> None:
    url, told, _ = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))
    spend(place, limit, 8 * 10**12)

    async def watch() -> None:
        watching = [
            Exporter(place.facts_url, [], database_url=place.engines.database_url, webhooks=[url])
            for _ in range(4)
        ]
        await asyncio.gather(*(one.check_budgets() for one in watching))
        await asyncio.gather(*(one.check_budgets() for one in watching))
        for one in watching:
            await one.close()

    asyncio.run(watch())
    assert [alert["percent"] for alert in told if alert["limit_id"] == limit.id] == [80]


def test_a_recipient_that_fails_is_told_again_and_the_others_are_not(
    place: Any, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, told, _ = hook
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))
    spend(place, limit, 10**13)
    nobody = "http://127.0.0.1:9/secret-path"
    for _ in range(2):
        export(place, [], rounds=0, webhooks=[nobody, url])
    assert [alert["percent"] for alert in told if alert["limit_id"] == limit.id] == [100]
    assert "webhook 127.0.0.1" in caplog.text
    assert "secret-path" not in caplog.text


def test_sinks_of_plugins_hear_of_budgets(place: Any) -> None:
    limit = place.admin(lambda admin: admin.create_limit(team=place.team, limit="$1/day"))
    spend(place, limit, 8 * 10**11)
    sink = Sink()
    export(place, [sink], rounds=0)
    assert [alert.percent for alert in sink.alerts if alert.limit_id == limit.id] == [80]


def queries(dashboard: dict[str, Any], field: str) -> list[str]:
    return [target[field] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_query_of_the_prometheus_dashboard_names_a_metric_and_labels_that_exist(place: Any) -> None:
    output = Prometheus()
    output.fact(place.fact(alias_id="a", ttft_us=5, cache_read_tokens=5))
    flags = ("shadow_denied", "unenforced")
    output.fact(place.fact(outcome="error", error_type="x", cost_pico_usd=None, flags=flags))
    output.health(3, {"facts": 1})
    found: dict[str, set[str]] = {}
    for line in exposed(output).splitlines():
        if match := re.match(r"(mesh_\w+?)(?:{(.*)})? ", line):
            found.setdefault(match[1], set()).update(re.findall(r"(\w+)=\"", match[2] or ""))
    assert {metric.name for metric in METRICS} <= {name.removesuffix("_bucket") for name in found}
    for query in queries(grafana.prometheus(), "expr"):
        asked = re.findall(r"mesh_\w+", query)
        assert asked, query
        assert set(asked) <= set(found), query
        by = {word for group in re.findall(r"by \(([^)]*)\)", query) for word in group.split(", ")}
        by |= set(re.findall(r"(\w+)=\"", query))
        assert by <= set().union(*(found[name] for name in asked)), query


def test_every_query_of_the_postgres_dashboard_runs(place: Any) -> None:
    place.send(place.fact())
    asyncio.run(collect(place))
    asked = queries(grafana.postgres(), "rawSql")
    assert len(asked) == len(statements("dashboard"))
    for query in asked:
        place.query(plain(query))


def test_dashboards_read_sums_and_no_single_fact(place: Any) -> None:
    for query in queries(grafana.postgres(), "rawSql"):
        plan = "\n".join(row[0] for row in place.query("EXPLAIN " + plain(query)))
        assert "usage_events" not in plan


def plain(query: str) -> str:
    """A query as Grafana sends it for the last day."""
    now = datetime.now(UTC)
    query = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 > now() - interval '1 day'", query)
    query = query.replace("$__timeFrom()", f"'{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}'")
    query = query.replace("$__timeTo()", f"'{now:%Y-%m-%dT%H:%M:%SZ}'")
    assert "$" not in query
    return query


def test_the_dashboard_over_postgres_shows_what_was_used(place: Any) -> None:
    place.admin(lambda admin: admin.create_limit(team=place.team, limit="$10/day"))
    for took_ms in (3, 100, 100, 100):
        place.send(place.fact(duration_us=took_ms * 1000, key_id=place.team[-8:].rjust(8, "k")))
    asyncio.run(collect(place))
    asked = {
        panel["title"]: plain(target["rawSql"])
        for panel in grafana.postgres()["panels"]
        for target in panel["targets"]
    }
    spend = [row for row in place.query(asked["Spend by team"]) if row["metric"] == place.team]
    assert [row["usd"] for row in spend] == [Decimal("0.0026")]
    (key,) = [row for row in place.query(asked["Keys by spend"]) if row["team"] == place.team]
    assert (key["calls"], key["usd"]) == (4, Decimal("0.0026"))
    assert all(row["p50"] <= row["p95"] <= row["p99"] for row in place.query(asked["Latency p50, p95, p99"]))


@pytest.mark.parametrize(
    ("counts", "share"),
    [([4, *[0] * 19], 0.5), ([0, 0, 0, 10, *[0] * 16], 0.95), ([*[0] * 19, 1], 0.5), ([0] * 20, 0.5)],
)
def test_postgres_finds_the_percentiles_that_we_find(place: Any, counts: list[int], share: float) -> None:
    ((found,),) = place.query(
        "SELECT usage_percentile($1::numeric[], $2::numeric)", counts, Decimal(str(share))
    )
    assert (found and float(found)) == percentile(counts, share)


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
