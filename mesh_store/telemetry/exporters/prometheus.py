"""Prometheus: counts of facts with bounded labels, and ``/metrics`` to mount anywhere.

Mount on any ASGI server: ``app.mount("/metrics", Prometheus().asgi)``; on WSGI likewise with ``wsgi``.
Counters begin at zero with the process, as Prometheus expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_asgi_app, make_wsgi_app

from mesh_store.model.facts import Fact
from mesh_store.model.money import usd
from mesh_store.telemetry.exporters import registry
from mesh_store.telemetry.exporters.bounding import Labelling
from mesh_store.telemetry.exporters.registry import METRICS, SECONDS, Metric


class Prometheus:
    """A sink of facts.

    Attributes:
        asgi, wsgi: applications that answer with the metrics.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._labelling = Labelling()
        self._metrics: dict[str, Any] = {metric.name: self._made(metric) for metric in METRICS}
        self.asgi: Any = make_asgi_app(self._registry)
        self.wsgi: Any = make_wsgi_app(self._registry)

    def fact(self, fact: Fact) -> None:
        """Take a fact."""
        labels = self._labelling(fact)._asdict()
        self._of(registry.CALLS, labels).inc()
        if fact.outcome != "ok":
            self._of(registry.ERRORS, labels | {"error": labels["error"] or fact.outcome}).inc()
        if fact.outcome == "denied":
            return
        if fact.attempt <= 1 and "shadow_denied" in fact.flags:
            self._of(registry.SHADOW_DENIED, labels).inc()
        if fact.attempt <= 1 and "unenforced" in fact.flags:
            self._of(registry.UNENFORCED, labels).inc()
        for kind, count in _tokens(fact).items():
            if count:
                self._of(registry.TOKENS, labels | {"type": kind}).inc(count)
        if fact.cost_pico_usd is not None:
            self._of(registry.COST, labels).inc(float(usd(fact.cost_pico_usd)))
        elif fact.input_tokens + fact.output_tokens:
            self._of(registry.UNPRICED, labels).inc()
        self._of(registry.DURATION, labels).observe(fact.duration_us / 1e6)
        if fact.ttft_us is not None:
            self._of(registry.FIRST_TOKEN, labels).observe(fact.ttft_us / 1e6)

    def health(self, backlog: int, lost: Mapping[str, int]) -> None:
        """Take what the stream says of itself."""
        self._metrics[registry.BACKLOG.name].set(backlog)
        for kind, count in lost.items():
            counter = self._of(registry.LOST, {"type": kind})
            counter.inc(max(0, count - counter._value.get()))

    def close(self) -> None:
        """Nothing is left to send."""

    def _of(self, metric: Metric, labels: Mapping[str, str]) -> Any:
        return self._metrics[metric.name].labels(*[labels[name] for name in metric.labels])

    def _made(self, metric: Metric) -> Any:
        about = (metric.name, metric.help, metric.labels)
        if metric.kind == "histogram":
            return Histogram(*about, buckets=SECONDS, registry=self._registry)
        return (Counter if metric.kind == "counter" else Gauge)(*about, registry=self._registry)


def _tokens(fact: Fact) -> dict[str, int]:
    return {
        "input": fact.input_tokens,
        "output": fact.output_tokens,
        "cache_read": fact.cache_read_tokens,
        "cache_write": fact.cache_write_tokens,
        "reasoning": fact.reasoning_tokens,
    }
