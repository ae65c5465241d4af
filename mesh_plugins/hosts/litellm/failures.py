"""What a litellm exception says about the provider, as a `ProviderError` that is still that exception."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import litellm
import openai

from mesh_plugins.core.call import ProviderCall
from mesh_store.model.errors import ProviderError

#: As much of a provider's own text as an error keeps.
_MOST_TEXT = 2_000


def provider_failure(call: ProviderCall, error: Exception) -> ProviderError | None:
    """Return the failure an exception of litellm stands for; None when it is not the provider's doing.

    The result is an instance of the exception's own class *and* of `ProviderError`, so ``except``
    clauses written for litellm keep working.
    """
    if isinstance(error, ProviderError):
        return error
    if not isinstance(error, openai.OpenAIError | httpx.HTTPError | TimeoutError):
        return None
    if not isinstance(error, openai.OpenAIError):
        error = _named(call, error)
    return _joined(call, error)


def incomplete(call: ProviderCall) -> ProviderError:
    """Return the failure of a stream that ended without saying why."""
    text = f"{call.provider.name} ended the stream of {call.target.model} without a finish reason"
    native = litellm.APIConnectionError(text, llm_provider=call.provider.kind, model=call.target.model)
    failure = _joined(call, native)
    failure.kind = "incomplete"
    return failure


def _named(call: ProviderCall, error: Exception) -> Exception:
    """Name an exception of the transport as litellm would have."""
    text = f"{type(error).__name__}: {error}"
    kind: Any = litellm.APIConnectionError
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        kind, text = litellm.Timeout, f"no answer within {call.timeout_s:.3g} s"
    named: Exception = kind(text, llm_provider=call.provider.kind, model=call.target.model)
    named.__cause__ = error
    return named


def _joined(call: ProviderCall, error: Exception) -> ProviderError:
    kind, status = _classified(error)
    ours = ProviderError(
        _text(error),
        provider=call.provider.name,
        model=call.target.model,
        attempt=call.attempt,
        status=status,
        body=_text(error),
        kind=kind,
        retry_after=_retry_after(error),
    )
    joined: Any = _joined_class(type(error)).__new__(_joined_class(type(error)), *error.args)
    # litellm's own model and body go over ours: its callers know them.
    joined.__dict__ |= ours.__dict__ | error.__dict__
    joined.__traceback__, joined.__cause__ = error.__traceback__, error.__cause__
    return joined  # type: ignore[no-any-return]


@cache
def _joined_class(host: type[Exception]) -> type[ProviderError]:
    """Return the class that is ``host`` and ours, named like ``host`` because logs show names."""
    return type(host.__name__, (ProviderError, host), {"__module__": __name__, "__doc__": host.__doc__})


def _classified(error: Exception) -> tuple[str, int]:
    status = getattr(error, "status_code", None)
    if isinstance(error, openai.APITimeoutError):
        return "timeout", 504
    if isinstance(error, openai.APIConnectionError) or _never_connected(error):
        return "connect", 502
    return ("status", status) if isinstance(status, int) else ("protocol", 502)


def _never_connected(error: BaseException | None) -> bool:
    """Tell whether a refused connection lies beneath: litellm calls it an InternalServerError."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, openai.APIConnectionError | httpx.ConnectError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or getattr(
        error, "litellm_response_headers", None
    )
    text = headers.get("retry-after") if headers else None
    try:
        seconds = float(text) if text else None
    except ValueError:
        return None  # an HTTP date: providers of models send seconds
    return seconds if seconds is not None and 0 <= seconds < 86_400 else None


def _text(error: Exception) -> str:
    return str(error)[:_MOST_TEXT]
