"""What a bad answer becomes: a `ProviderError` that says enough, and never a secret."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.transport import MOST_ERROR_BODY, TransportFailure, header
from mesh_plugins.http.wire.base import decode
from mesh_store.model.errors import ProviderError

_SHOWN = 2_048
_SHORTEST_SECRET = 6
_LONGEST_WAIT_S = 24 * 3600.0
#: What Anthropic's errors within a stream would have been as a status.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
    "api_error": 500,
    "timeout_error": 504,
}


def failed(call: ProviderCall, message: str, **more: Any) -> ProviderError:
    """Return an error that names the provider and the model."""
    whom = f"provider {call.provider.name!r} (model {call.target.model!r})"
    return ProviderError(
        f"{whom} {message}",
        provider=call.provider.name,
        model=call.target.model,
        attempt=call.attempt,
        **more,
    )


def status_error(call: ProviderCall, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Return the error for an answer whose status is not one of success."""
    text = shown(call, body)
    if 300 <= status < 400:
        place = urlsplit(header(headers, "location") or "").netloc or "an unnamed place"
        said = (
            f"redirected to {shown(call, place.encode())} ({status}), which is never followed: set base_url"
        )
    else:
        said = f"answered {status}: {_message(text) or 'without a reason'}"
    return failed(call, said, status=status, body=text, kind="status", retry_after=retry_after(headers))


def stream_error(call: ProviderCall, error: Any) -> ProviderError:
    """Return the error a provider sent inside a reply that had begun with success."""
    kind = code = message = None
    if isinstance(error, dict):
        kind, code, message = error.get("type"), error.get("code"), error.get("message")
    status = code if type(code) is int and 400 <= code <= 599 else _STATUS_OF_TYPE.get(str(kind), 502)
    text = shown(call, str(message or error).encode())
    return failed(
        call, f"failed after it had begun to answer: {text}", status=status, body=text, kind="status"
    )


def protocol_error(call: ProviderCall, why: str, body: bytes = b"") -> ProviderError:
    """Return the error for an answer of success that is not one."""
    text = shown(call, body)
    return failed(call, f"sent what is no answer: {why}", body=text, kind="protocol", billed=True)


def incomplete(call: ProviderCall, why: str = "the stream ended without a finish reason") -> ProviderError:
    """Return the error for an answer that broke off."""
    return failed(call, f"broke off: {why}", kind="incomplete")


def unreachable(call: ProviderCall, failure: TransportFailure) -> ProviderError:
    """Return the error for a request without a usable answer."""
    said = {
        "connect": "cannot be reached",
        "timeout": "did not answer in time",
        "incomplete": "broke off",
        "protocol": "did not answer properly",
    }[failure.kind]
    status = 504 if failure.kind == "timeout" else 502
    text = shown(call, str(failure).encode())
    return failed(call, f"{said}: {text}", status=status, kind=failure.kind)


def retry_after(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Return the seconds a provider asks to wait, from seconds, milliseconds or a date; None for none.

    Args:
        headers: of the answer.
        now_s: wall clock; None reads it.
    """
    if millis := header(headers, "retry-after-ms"):
        return _wait(millis, 0.001)
    value = header(headers, "retry-after")
    if not value:
        return None
    if (seconds := _wait(value, 1.0)) is not None:
        return seconds
    try:
        when = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(_LONGEST_WAIT_S, max(0.0, when - (time.time() if now_s is None else now_s)))


def shown(call: ProviderCall, body: bytes) -> str:
    """Return the beginning of a body as text, with the call's secrets struck out."""
    text = body[:MOST_ERROR_BODY].decode("utf-8", "replace")
    secrets = call.secret.values() if isinstance(call.secret, dict) else (call.secret or "",)
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _wait(value: str, unit: float) -> float | None:
    try:
        seconds = float(value) * unit
    except ValueError:
        return None
    return min(_LONGEST_WAIT_S, max(0.0, seconds)) if not math.isnan(seconds) else None


def _message(text: str) -> str:
    """Return the message inside an error's JSON, or the text itself."""
    try:
        body = decode(text.encode())
    except ValueError:
        return text.strip()
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else text.strip()
