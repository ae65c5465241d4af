"""Two Grafana dashboards, built from the table of metrics and the tables of usage.

``prometheus`` shows what bounded labels can; ``postgres`` shows everything, users and keys included. The
data source is a variable, so both work wherever they are imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh_store.postgres.statements import statements
from mesh_store.postgres.usage_latency import BUCKETS
from mesh_store.telemetry.exporters.registry import (
    BACKLOG,
    CALLS,
    COST,
    DURATION,
    ERRORS,
    FIRST_TOKEN,
    LOST,
    TOKENS,
    UNPRICED,
    Metric,
)

_WIDTH, _HEIGHT = 8, 8
_RATE = "[$__rate_interval]"
#: The histograms of many rollups as one.
_HISTOGRAMS = {
    name: f"ARRAY[{', '.join(f'sum(r.{name}[{bucket}])' for bucket in range(1, BUCKETS + 1))}]"
    for name in ("latency", "ttft")
}
#: Statements of ``dashboard.sql`` with their titles, units and forms.
_POSTGRES = (
    ("spend_by_team", "Spend by team", "currencyUSD", "time_series"),
    ("spend_by_model", "Spend by model", "currencyUSD", "time_series"),
    ("spend_by_alias", "Spend by alias", "currencyUSD", "time_series"),
    ("calls", "Calls and errors", "short", "time_series"),
    ("refused", "Refused, cancelled, lost", "short", "time_series"),
    ("tokens", "Tokens by kind", "short", "time_series"),
    ("latency", "Latency p50, p95, p99", "ms", "time_series"),
    ("first_token", "Time to first token p50, p95", "ms", "time_series"),
    ("users", "Users by spend", "currencyUSD", "table"),
    ("keys", "Keys by spend", "currencyUSD", "table"),
    ("budgets", "Budgets", "currencyUSD", "table"),
    ("unpriced", "Without a price", "short", "table"),
    ("dead", "Could not be taken", "short", "table"),
)


def prometheus() -> dict[str, Any]:
    """Return the dashboard over Prometheus."""
    panels = [
        ("Spend per hour by team", "currencyUSD", [f"3600 * {_sum(COST, 'team')}"]),
        ("Spend per hour by model", "currencyUSD", [f"3600 * {_sum(COST, 'model')}"]),
        ("Spend of the last 24 hours", "currencyUSD", [f"sum(increase({COST.name}[24h]))"]),
        ("Attempts per second by alias", "reqps", [_sum(CALLS, "alias")]),
        ("Attempts per second by outcome", "reqps", [_sum(CALLS, "outcome")]),
        ("Refused by quota", "reqps", [_sum(CALLS, "team", outcome="denied")]),
        ("Error ratio by class", "percentunit", [f"{_sum(ERRORS, 'error')} / scalar({_sum(CALLS)})"]),
        ("Latency p50, p95, p99", "s", [_quantile(DURATION, share) for share in (0.5, 0.95, 0.99)]),
        ("Time to first token p50, p95", "s", [_quantile(FIRST_TOKEN, share) for share in (0.5, 0.95)]),
        ("Tokens per second by kind", "short", [_sum(TOKENS, "type")]),
        (
            "Share of input read from cache",
            "percentunit",
            [f"{_sum(TOKENS, type='cache_read')} / {_sum(TOKENS, type='input')}"],
        ),
        ("Attempts without a price", "short", [f"sum by (model) (increase({UNPRICED.name}[1h]))"]),
        ("Batches waiting for a collector", "short", [f"max({BACKLOG.name})"]),
        ("Lost by producers", "short", [f"max by (type) (increase({LOST.name}[1h]))"]),
    ]
    return _dashboard(
        "mesh-prometheus",
        "Mesh (Prometheus)",
        "prometheus",
        [
            (title, unit, [{"expr": query, "refId": _letter(n)} for n, query in enumerate(queries)])
            for title, unit, queries in panels
        ],
    )


def postgres() -> dict[str, Any]:
    """Return the dashboard over Postgres."""
    queries = {name: query.format(**_HISTOGRAMS) for name, query in statements("dashboard").items()}
    return _dashboard(
        "mesh-postgres",
        "Mesh (Postgres)",
        "grafana-postgresql-datasource",
        [
            (title, unit, [{"rawSql": queries[name], "rawQuery": True, "refId": "A", "format": form}])
            for name, title, unit, form in _POSTGRES
        ],
    )


def _sum(metric: Metric, *by: str, **where: str) -> str:
    assert {*by, *where} <= set(metric.labels), f"{metric.name} has no such label"
    chosen = ",".join(f'{name}="{value}"' for name, value in where.items())
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({metric.name}{{{chosen}}}{_RATE}))"


def _quantile(metric: Metric, share: float) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({metric.name}_bucket{_RATE})))"


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def _dashboard(
    uid: str, title: str, kind: str, panels: Sequence[tuple[str, str, list[dict[str, Any]]]]
) -> dict[str, Any]:
    source = {"type": kind, "uid": "${source}"}
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 39,
        "tags": ["mesh"],
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": kind, "label": "Data source"}]
        },
        "panels": [
            {
                "title": heading,
                "type": "table" if any(t.get("format") == "table" for t in targets) else "timeseries",
                "datasource": source,
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "gridPos": {"x": n % 3 * _WIDTH, "y": n // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
                "targets": [target | {"datasource": source} for target in targets],
            }
            for n, (heading, unit, targets) in enumerate(panels)
        ],
    }
