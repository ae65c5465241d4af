"""The caller's own span, so that a fact can be found from a trace and a trace from a fact.

OpenTelemetry is never imported here: whoever has a span open has imported it already.
"""

from __future__ import annotations

import sys


def current_span() -> tuple[str | None, str | None]:
    """Return the W3C hex ids of the trace and the span this call is made in, or two times None."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None, None
    try:
        context = api.get_current_span().get_span_context()
        if not context.is_valid:
            return None, None
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"
    except Exception:  # a stranger's tracer must not cost the call; its fact then names no span
        return None, None
