"""What a control plane tells others of facts, as its environment says.

=================================  =====================================================================
``MESH_METRICS``                   ``/metrics`` of ``mesh serve``: ``token`` (the default) asks for an admin
                                   token that is not limited to a team, ``open`` for nothing, ``off`` is none
``OTEL_EXPORTER_OTLP_ENDPOINT``    spans and metrics over OTLP/HTTP, with OpenTelemetry's other variables;
                                   ``…_TRACES_ENDPOINT`` or ``…_METRICS_ENDPOINT`` alone send only these
``MESH_WEBHOOKS``                  URLs that budget alerts are posted to, between spaces
``MESH_PLUGINS``                   plugins whose ``mesh_sinks`` are given facts and alerts
=================================  =====================================================================
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.manager import load
from mesh_plugins.settings import Settings
from mesh_store.model.errors import ConfigError

if TYPE_CHECKING:
    from mesh_store.telemetry.exporters.prometheus import Prometheus
    from mesh_store.telemetry.exporters.running import Exporter

Access = Literal["token", "open", "off"]
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_MISSING = "needs the extra 'otel': pip install 'mesh-plugins[otel]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which outputs an environment asks for.

    Attributes:
        metrics: who may read ``/metrics``.
        spans, measures: whether these go out over OTLP.
        webhooks: where budget alerts go; a URL may hold a secret.
    """

    metrics: Access = "token"
    spans: bool = False
    measures: bool = False
    webhooks: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Asked:
        """Read the environment.

        Raises:
            ConfigError: a variable does not fit, or asks for what is not installed; never says a URL.
        """
        environ = os.environ if environ is None else environ
        spans, measures = (_sends(environ, signal) for signal in ("traces", "metrics"))
        if (spans or measures) and importlib.util.find_spec("opentelemetry.exporter.otlp") is None:
            raise ConfigError(f"OTEL_EXPORTER_OTLP_* is set, which {_MISSING}")
        webhooks = tuple(environ.get("MESH_WEBHOOKS", "").split())
        for number, url in enumerate(webhooks, 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"MESH_WEBHOOKS: number {number} is no URL of http or https")
        return cls(metrics=_metrics(environ), spans=spans, measures=measures, webhooks=webhooks)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of one process.

    Attributes:
        exporters: each waits for nobody but its own outputs.
        page: what answers ``/metrics``, or None.
        access: who may ask it.
    """

    exporters: tuple[Exporter, ...] = ()
    page: Prometheus | None = None
    access: Access = "off"


def outputs(
    asked: Asked, settings: Settings, telemetry_redis_url: str, database_url: str, *, pages: bool
) -> Outputs:
    """Make the outputs that are asked for; nothing runs yet.

    Args:
        asked: which.
        settings: names the plugins, and is handed to them.
        telemetry_redis_url: the server that takes the facts.
        database_url: Postgres, for budget alerts.
        pages: whether this process can answer ``/metrics``.

    Raises:
        PluginError: a named plugin cannot be loaded, or fails in ``mesh_sinks``.
    """
    from mesh_store.telemetry.exporters.running import Exporter

    made: list[Exporter] = []
    page = None
    if pages and asked.metrics != "off":
        from mesh_store.telemetry.exporters.prometheus import Prometheus

        # Servers share the facts, as Prometheus sums over what it scrapes.
        page = Prometheus()
        made.append(Exporter(telemetry_redis_url, [page], group="metrics"))
    if asked.spans or asked.measures:
        from mesh_store.telemetry.exporters.names import names
        from mesh_store.telemetry.exporters.opentelemetry import otlp

        sink = otlp(None, names(), spans=asked.spans, metrics=asked.measures)
        made.append(Exporter(telemetry_redis_url, [sink], group="otlp"))
    sinks = _sinks(settings)
    if sinks or asked.webhooks:
        made.append(Exporter(telemetry_redis_url, sinks, database_url=database_url, webhooks=asked.webhooks))
    return Outputs(tuple(made), page, asked.metrics if page is not None else "off")


def _sinks(settings: Settings) -> list[Any]:
    hooks = load(settings.plugins, builtin=builtin_plugins())
    return [sink for sinks in hooks.sinks.every(settings=settings) for sink in sinks]


def _metrics(environ: Mapping[str, str]) -> Access:
    said = environ.get("MESH_METRICS", "").strip().lower()
    installed = importlib.util.find_spec("prometheus_client") is not None
    match said:
        case "":
            return "token" if installed else "off"
        case "token" | "open":
            if not installed:
                raise ConfigError(f"MESH_METRICS is {said}, which {_MISSING}")
            return "token" if said == "token" else "open"
        case "off":
            return "off"
    raise ConfigError("MESH_METRICS must be token, open or off")


def _sends(environ: Mapping[str, str], signal: str) -> bool:
    """Tell whether a signal goes out: as OpenTelemetry reads its variables, but silent unless told where."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip() not in ("otlp", ""):
        return False
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_"
    if not (environ.get(_ENDPOINT) or environ.get(f"{own}ENDPOINT")):
        return False
    protocol = environ.get(f"{own}PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol != "http/protobuf":
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: Mesh speaks http/protobuf")
    return True
