"""What a litellm exception says about the provider, as a `ProviderError` that is still that exception."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import litellm
import openai
from litellm.exceptions import MidStreamFallbackError

from mesh_plugins.core.call import ProviderCall
from mesh_store.model.errors import ProviderError

#: As much of a provider's own text as an error keeps.
_MOST_TEXT = 2_000
_BY_STATUS: dict[int, Any] = {
    400: litellm.BadRequestError,
    401: litellm.AuthenticationError,
    403: litellm.PermissionDeniedError,
    404: litellm.NotFoundError,
    422: litellm.UnprocessableEntityError,
    429: litellm.RateLimitError,
    500: litellm.InternalServerError,
    502: litellm.BadGatewayError,
    503: litellm.ServiceUnavailableError,
}


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
        error = _of_the_transport(call, error)
    return _joined(call, error)


def broken_off(call: ProviderCall, error: Exception) -> Exception:
    """Return what ended a stream in the middle: a lost connection there is an incomplete answer."""
    failure = provider_failure(call, error)
    if failure is None:
        return error
    if failure.kind == "connect":
        failure.kind = "incomplete"
    return failure


def incomplete(call: ProviderCall) -> ProviderError:
    """Return the failure of a stream that ended without saying why."""
    text = f"{call.provider.name} ended the stream of {call.target.model} without a finish reason"
    ours = ProviderError(
        text, provider=call.provider.name, model=call.target.model, attempt=call.attempt, kind="incomplete"
    )
    return named(ours, call.provider.kind)


def named(ours: ProviderError, vendor: str) -> ProviderError:
    """Return a failure of ours as what litellm would have called it."""
    if isinstance(ours, openai.OpenAIError):
        return ours
    text = str(ours)
    told = {"message": text, "llm_provider": vendor, "model": ours.model}
    response = httpx.Response(ours.status, text=ours.body, request=httpx.Request("POST", "mesh://local"))
    if ours.retry_after is not None:
        response.headers["retry-after"] = f"{ours.retry_after:g}"
    if ours.kind == "timeout":
        native: Any = litellm.Timeout(**told)
    elif ours.kind in ("connect", "incomplete"):
        native = litellm.APIConnectionError(**told)
    elif ours.status in _BY_STATUS:
        native = _BY_STATUS[ours.status](**told, response=response)
    else:
        native = litellm.APIError(ours.status, **told)
    return _both(ours, native)


def _of_the_transport(call: ProviderCall, error: Exception) -> Exception:
    """Name an exception of the transport as litellm would have."""
    text = f"{type(error).__name__}: {error}"
    kind: Any = litellm.APIConnectionError
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        kind, text = litellm.Timeout, f"no answer within {call.timeout_s:.3g} s"
    native: Exception = kind(text, llm_provider=call.provider.kind, model=call.target.model)
    native.__cause__ = error
    return native


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
    both: Any = _both(ours, error)
    beneath = getattr(error, "original_exception", None)
    if isinstance(error, MidStreamFallbackError) and isinstance(beneath, openai.OpenAIError):
        both.original_exception = _both(ours, beneath)  # litellm's Router raises this one
    return both  # type: ignore[no-any-return]


def _both(ours: ProviderError, native: Exception) -> ProviderError:
    """Return one exception that is both; litellm's own model and body stay, its callers know them."""
    host: Any = type(native)
    kind_of_both: Any = _joined_class(host)
    both = kind_of_both.__new__(kind_of_both, *native.args)
    both.__dict__ |= ours.__dict__ | native.__dict__
    both.__traceback__, both.__cause__ = native.__traceback__, native.__cause__
    return both  # type: ignore[no-any-return]


@cache
def _joined_class(host: Any) -> type[ProviderError]:
    """Return the class that is ``host`` and ours, named like ``host`` because logs show names."""
    return type(host.__name__, (ProviderError, host), {"__module__": __name__, "__doc__": host.__doc__})


def _classified(error: Exception) -> tuple[str, int]:
    """Say how an attempt failed; litellm's class alone misleads.

    A refused connection is its InternalServerError, an Anthropic redirect its APIConnectionError, and
    whatever ends a stream in the middle its MidStreamFallbackError; the exception beneath knows.
    """
    if isinstance(error, MidStreamFallbackError) and isinstance(error.original_exception, Exception):
        kind, status = _classified(error.original_exception)
        return ("incomplete" if kind == "connect" else kind), status
    if isinstance(error, openai.APITimeoutError):
        return "timeout", 504
    for cause in _chain(error):
        if isinstance(cause, httpx.HTTPStatusError):
            return "status", cause.response.status_code
        if isinstance(cause, httpx.TimeoutException | TimeoutError):
            return "timeout", 504
        if isinstance(cause, httpx.TransportError) or type(cause) is openai.APIConnectionError:
            return "connect", 502
    if isinstance(error, openai.APIConnectionError):
        return "connect", 502
    told = getattr(error, "status_code", None)
    return ("status", told) if isinstance(told, int) else ("protocol", 502)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what lies beneath it, outermost first, ten at most."""
    beneath: BaseException | None = error
    for _ in range(10):
        if beneath is None:
            return
        yield beneath
        beneath = beneath.__cause__ or beneath.__context__


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
