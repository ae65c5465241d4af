"""Each query of the dashboards names what exists, runs, and shows what was used."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage_latency import percentile
from mesh_store.telemetry.exporters import grafana
from mesh_store.telemetry.exporters.prometheus import Prometheus
from mesh_store.telemetry.exporters.registry import METRICS
from tests.outputs.hearing import collect, exposed


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
