"""Every Prometheus metric, in one table: what is counted, and what the dashboards may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Bounds in seconds of the GenAI conventions: 0.01 · 2^k.
SECONDS = tuple(0.01 * 2**k for k in range(14))


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: as it is exposed.
        kind: a counter's name ends in ``_total``.
        help: one line.
        labels: of `mesh_store.telemetry.exporters.bounding.Labels`, or ``type`` of tokens.
    """

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


_WHERE = ("team", "alias", "provider", "model")

CALLS = Metric(
    "mesh_attempts_total",
    "counter",
    "Attempts at providers, and refused calls, by how they ended.",
    (*_WHERE, "operation", "outcome"),
)
ERRORS = Metric(
    "mesh_errors_total", "counter", "What did not end well, by class of error.", (*_WHERE, "error")
)
TOKENS = Metric(
    "mesh_tokens_total", "counter", "Tokens; cached ones are part of the input.", (*_WHERE, "type")
)
COST = Metric("mesh_cost_usd_total", "counter", "USD at the prices of the call's time.", _WHERE)
UNPRICED = Metric(
    "mesh_unpriced_total", "counter", "Attempts whose model has no price.", ("provider", "model")
)
SHADOW_DENIED = Metric(
    "mesh_shadow_denied_total", "counter", "Calls that limits in shadow mode would have refused.", _WHERE
)
UNENFORCED = Metric(
    "mesh_unenforced_total",
    "counter",
    "Calls admitted by their limits' policies, while Redis was away.",
    _WHERE,
)
DURATION = Metric(
    "mesh_duration_seconds", "histogram", "Until the last byte.", ("alias", "provider", "model", "operation")
)
FIRST_TOKEN = Metric(
    "mesh_time_to_first_token_seconds",
    "histogram",
    "Until the first token of a stream.",
    ("alias", "provider", "model"),
)
BACKLOG = Metric("mesh_backlog_entries", "gauge", "Batches of facts that wait for a collector.")
LOST = Metric("mesh_lost_total", "counter", "What producers had to drop, by kind.", ("type",))

METRICS = (
    CALLS,
    ERRORS,
    TOKENS,
    COST,
    UNPRICED,
    SHADOW_DENIED,
    UNENFORCED,
    DURATION,
    FIRST_TOKEN,
    BACKLOG,
    LOST,
)
