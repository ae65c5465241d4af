"""What others are told of facts: OpenTelemetry, Prometheus, budget alerts and plugins' sinks.

::

    collector ──► commit ──► mesh:exports (bounded) ──► exporter ──► spans, metrics, sinks

Postgres stays the truth: these outputs may miss what a bounded stream dropped while no exporter ran,
and they may hear a batch twice. Needs the extra ``otel``, module by module.
"""
