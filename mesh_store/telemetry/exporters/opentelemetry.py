"""Spans and metrics for OpenTelemetry, rebuilt from facts with the times and ids of the call."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from mesh_store.model.facts import Fact
from mesh_store.model.money import usd
from mesh_store.telemetry.exporters.bounding import Labelling
from mesh_store.telemetry.exporters.names import V1_41, Names, provider_name
from mesh_store.telemetry.exporters.registry import SECONDS

#: Bounds of the conventions for tokens: 4^k.
_TOKENS = tuple(float(4**k) for k in range(14))
_RESOURCE = {"service.name": "mesh"}
#: Spans that wait for a flush at most; more than `mesh_store.telemetry.exporters.feed.Feed.take` returns.
_MOST_SPANS = 2**14


def otlp(
    endpoint: str | None = None, names: Names = V1_41, *, spans: bool = True, metrics: bool = True
) -> OpenTelemetry:
    """Return an output to an OTLP endpoint over HTTP.

    Args:
        endpoint: its address, without a path; None takes what ``OTEL_EXPORTER_OTLP_*`` say.
        names: the profile of names.
        spans: whether these are sent.
        metrics: likewise.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    base = None if endpoint is None else endpoint.rstrip("/")
    processor = reader = None
    if spans:
        # As many as a feed hands over between two flushes: a smaller queue drops the rest unseen.
        exporter = OTLPSpanExporter(base and f"{base}/v1/traces")
        processor = BatchSpanProcessor(exporter, max_queue_size=_MOST_SPANS)
    if metrics:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(base and f"{base}/v1/metrics"))
    return OpenTelemetry(processor, reader, names)


class OpenTelemetry:
    """A sink of facts.

    Args:
        processor: where spans go, or None.
        reader: where metrics go, or None.
        names: the profile of names.
    """

    def __init__(
        self, processor: SpanProcessor | None, reader: MetricReader | None, names: Names = V1_41
    ) -> None:
        self._names = names
        self._labelling = Labelling()
        # What the environment says of the service (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) comes first.
        resource = Resource.create(_RESOURCE).merge(OTELResourceDetector().detect())
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        if processor is not None:
            self._spans.add_span_processor(processor)
        self._tracer = self._spans.get_tracer("mesh")
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
            for name, bounds in (
                (names.duration, SECONDS),
                (names.time_to_first_chunk, SECONDS),
                (names.tokens, _TOKENS),
            )
        ]
        self._metrics = MeterProvider(
            [] if reader is None else [reader], resource, shutdown_on_exit=False, views=views
        )
        meter = self._metrics.get_meter("mesh")
        self._duration = meter.create_histogram(names.duration, "s")
        self._first_chunk = meter.create_histogram(names.time_to_first_chunk, "s")
        self._tokens = meter.create_histogram(names.tokens, "{token}")
        self._spend = meter.create_counter(names.spend, "USD")
        self._unpriced = meter.create_counter(names.unpriced, "{attempt}")
        self._shadow_denied = meter.create_counter(names.shadow_denied, "{call}")
        self._unenforced = meter.create_counter(names.unenforced, "{call}")

    def fact(self, fact: Fact) -> None:
        """Take a fact."""
        if fact.outcome != "denied":  # nobody was asked, so there is no client operation
            self._span(fact)
            self._measure(fact)

    def flush(self) -> None:
        """Send the spans so far, so that none waits in a queue that may overflow."""
        self._spans.force_flush()

    def close(self) -> None:
        """Send what is left."""
        self._spans.shutdown()
        self._metrics.shutdown()

    def _span(self, fact: Fact) -> None:
        span = self._tracer.start_span(
            f"{fact.operation} {fact.request_model or ''}".strip(),
            context=_parent(fact),
            kind=trace.SpanKind.CLIENT,
            start_time=fact.started_at_us * 1_000,
            attributes={name: value for name, value in self._attributes(fact).items() if value is not None},
        )
        if fact.outcome != "ok":
            span.set_status(trace.Status(trace.StatusCode.ERROR, fact.outcome))
        span.end((fact.started_at_us + fact.duration_us) * 1_000)

    def _attributes(self, fact: Fact) -> dict[str, Any]:
        n = self._names
        return {
            n.operation: fact.operation,
            n.provider: provider_name(fact.provider),
            n.request_model: fact.request_model,
            n.stream: fact.stream or None,
            n.conversation: fact.session,
            n.response_id: fact.response_id,
            n.response_model: fact.response_model,
            n.finish_reasons: None if fact.finish_reason is None else (fact.finish_reason,),
            n.first_chunk: None if fact.ttft_us is None else fact.ttft_us / 1e6,
            n.input_tokens: fact.input_tokens,
            n.output_tokens: fact.output_tokens,
            n.cache_read: fact.cache_read_tokens or None,
            n.cache_write: fact.cache_write_tokens or None,
            n.reasoning: fact.reasoning_tokens or None,
            n.error: _error(fact),
            n.status: fact.status,
            n.team: fact.team_id,
            n.user: fact.user_id,
            n.key: fact.key_id,
            n.alias: fact.alias,
            n.attempt: fact.attempt,
            n.call: fact.call_id,
            n.cost: fact.cost_pico_usd,
            n.rate_card: fact.rate_card,
            n.outcome: fact.outcome,
            n.estimated: fact.estimated or None,
        }

    def _measure(self, fact: Fact) -> None:
        n, labels = self._names, self._labelling(fact)
        where = {
            n.operation: labels.operation,
            n.provider: provider_name(labels.provider or None),
            n.request_model: labels.model,
        }
        failed = {} if fact.outcome == "ok" else {n.error: labels.error or labels.outcome}
        self._duration.record(fact.duration_us / 1e6, where | failed)
        if fact.ttft_us is not None:
            self._first_chunk.record(fact.ttft_us / 1e6, where)
        for kind, count in (("input", fact.input_tokens), ("output", fact.output_tokens)):
            self._tokens.record(count, where | {n.token_type: kind})
        whose = where | {n.team: labels.team, n.alias: labels.alias}
        if fact.cost_pico_usd is not None:
            self._spend.add(float(usd(fact.cost_pico_usd)), whose)
        elif fact.input_tokens + fact.output_tokens:
            self._unpriced.add(1, whose)
        if fact.attempt <= 1 and "shadow_denied" in fact.flags:
            self._shadow_denied.add(1, whose)
        if fact.attempt <= 1 and "unenforced" in fact.flags:
            self._unenforced.add(1, whose)


def _parent(fact: Fact) -> Any:
    """Return the caller's span as the parent, where the fact names one."""
    try:
        ids = (int(fact.trace_id or "", 16), int(fact.span_id or "", 16))
    except ValueError:
        return None
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    parent = trace.SpanContext(*ids, is_remote=True, trace_flags=sampled)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent.is_valid else None


def _error(fact: Fact) -> str | None:
    return None if fact.outcome == "ok" else fact.error_type or fact.outcome
