"""What people use to note down a call: a span of OpenTelemetry's, and litellm's logging payload."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime

from mesh_store.model.ids import new_id

Case = Callable[[], object]

ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2026-01-01",
    "gen_ai.response.id": "chatcmpl-abc",
    "gen_ai.usage.input_tokens": 812,
    "gen_ai.usage.output_tokens": 143,
    "gen_ai.usage.cache_read.input_tokens": 512,
    "gen_ai.response.finish_reasons": ("stop",),
    "mesh.team.id": new_id(),
    "mesh.user.id": new_id(),
    "mesh.key.id": "abcdefgh",
    "mesh.alias": "fast",
    "mesh.attempt": 1,
    "mesh.call.id": new_id(),
    "mesh.cost.pico_usd": 489_000_000,
    "mesh.price.version": "2026-01-01",
    "mesh.revision": 77,
    "mesh.host": "direct",
    "mesh.estimate_tokens": 1024,
    "mesh.session": "s1",
    "server.address": "api.openai.com",
}

SINK = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""


def sink(stack: ExitStack) -> str:
    """Start what takes any export and answers at once, in a process of its own; return its URL."""
    process = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout
    return f"http://127.0.0.1:{int(process.stdout.readline())}"


def otel_span(stack: ExitStack) -> Case | None:
    """Return one span with the same attributes, exported by OTLP; None without the SDK."""
    if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{sink(stack)}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stack.callback(provider.shutdown)
    tracer = provider.get_tracer("bench")

    def span() -> None:
        tracer.start_span("chat gpt-5-mini", attributes=ATTRIBUTES).end()

    return span


def litellm_payload() -> Case | None:
    """Return one build of litellm's logging payload; None without litellm."""
    if importlib.util.find_spec("litellm") is None:
        return None
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it looks on the network otherwise
    import litellm
    from litellm.litellm_core_utils import litellm_logging

    messages = [{"role": "user", "content": "hello"}]
    started = datetime.now(UTC)
    logging = litellm_logging.Logging(
        model="gpt-5-mini",
        messages=messages,
        stream=False,
        call_type="completion",
        start_time=started,
        litellm_call_id="1",
        function_id="1",
    )
    logging.update_environment_variables(
        model="gpt-5-mini", user="", optional_params={}, litellm_params={"metadata": {}}
    )
    reply = litellm.ModelResponse(model="gpt-5-mini", usage={"prompt_tokens": 812, "completion_tokens": 143})
    given = {"model": "gpt-5-mini", "messages": messages, "litellm_params": {"metadata": {}}}

    def build() -> object:
        return litellm_logging.get_standard_logging_object_payload(
            kwargs=given,
            init_response_obj=reply,
            start_time=started,
            end_time=started,
            logging_obj=logging,
            status="success",
        )

    return build if build() is not None else None
