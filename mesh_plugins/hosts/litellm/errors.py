"""Our errors as litellm's callers know them: every class is one of ours *and* one of litellm's.

::

    LiteLLMInvalidKey          InvalidKey         + litellm.AuthenticationError
    LiteLLMAccessDenied        AccessDenied       + litellm.PermissionDeniedError
    LiteLLMUnknownAlias        UnknownAlias       + litellm.NotFoundError
    LiteLLMQuotaExceeded       QuotaExceeded      + litellm.RateLimitError
    LiteLLMBudgetExceeded      BudgetExceeded     + litellm.RateLimitError + litellm.BudgetExceededError
    LiteLLMConfigUnavailable   ConfigUnavailable  + litellm.ServiceUnavailableError
    LiteLLMQuotaUnavailable    QuotaUnavailable   + litellm.ServiceUnavailableError
    LiteLLMConfigError         ConfigError        + litellm.BadRequestError

A provider's failure is a `ProviderError` and whatever litellm calls it (`failures`). Refusals are also
litellm's ``GuardrailRaisedException``: its Router then neither retries them nor moves on to a fallback
group, and its exception mapping hands them through intact.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import litellm
import openai
from litellm.exceptions import BudgetExceededError, RateLimitError, ServiceUnavailableError
from litellm.exceptions import GuardrailRaisedException as Refusal

from mesh_plugins.hosts.litellm.failures import named
from mesh_store.model.errors import (
    AccessDenied,
    BudgetExceeded,
    ConfigError,
    ConfigUnavailable,
    InvalidKey,
    MeshError,
    ProviderError,
    QuotaExceeded,
    QuotaUnavailable,
    UnknownAlias,
)

_PICO_PER_USD = 10**12


class LiteLLMInvalidKey(InvalidKey, litellm.AuthenticationError, Refusal):  # type: ignore[misc]
    """The caller's key is not accepted."""


class LiteLLMAccessDenied(AccessDenied, litellm.PermissionDeniedError, Refusal):  # type: ignore[misc]
    """The key's team may not use this alias."""


class LiteLLMUnknownAlias(UnknownAlias, litellm.NotFoundError, Refusal):  # type: ignore[misc]
    """No alias of that name exists."""


class LiteLLMQuotaExceeded(QuotaExceeded, RateLimitError, Refusal):  # type: ignore[misc]
    """A limit has no room; ``retry_after`` says when it will, and so does the response's header."""


class LiteLLMBudgetExceeded(BudgetExceeded, RateLimitError, BudgetExceededError, Refusal):  # type: ignore[misc]
    """A budget has no room; ``current_cost`` and ``max_budget`` are in USD, as litellm's are."""


class LiteLLMConfigUnavailable(ConfigUnavailable, ServiceUnavailableError, Refusal):  # type: ignore[misc]
    """No configuration could be had."""


class LiteLLMQuotaUnavailable(QuotaUnavailable, ServiceUnavailableError, Refusal):  # type: ignore[misc]
    """A limit could not be checked, and its policy is closed."""


class LiteLLMConfigError(ConfigError, litellm.BadRequestError, Refusal):  # type: ignore[misc]
    """The call or the stored configuration is wrong; the message says what to change."""


#: Most specific first: a plugin's own subclass becomes the first that it is one of.
_CLASSES: tuple[type[MeshError], ...] = (
    LiteLLMInvalidKey,
    LiteLLMUnknownAlias,
    LiteLLMBudgetExceeded,
    LiteLLMQuotaExceeded,
    LiteLLMAccessDenied,
    LiteLLMQuotaUnavailable,
    LiteLLMConfigUnavailable,
    LiteLLMConfigError,
)


def hosted(error: MeshError, model: str) -> MeshError:
    """Return ``error`` as one of litellm's errors too, with all it says; unchanged when it is one.

    Args:
        error: any error of ours.
        model: the model name as the caller wrote it.
    """
    if isinstance(error, openai.OpenAIError):
        return error
    if isinstance(error, ProviderError):
        return named(error, "mesh")
    kind = next((kind for kind in _CLASSES if isinstance(error, kind.__mro__[1])), LiteLLMConfigError)
    twin: Any = kind.__new__(kind, *error.args)
    twin.__dict__.update(_litellm_attributes(error, model), **error.__dict__)
    if isinstance(error, BudgetExceeded):
        twin.current_cost, twin.max_budget = _budget(error)
    return twin  # type: ignore[no-any-return]


def _litellm_attributes(error: MeshError, model: str) -> dict[str, Any]:
    """What litellm's constructors would have set, without the noise they put before a message."""
    text, headers = str(error), _headers(error)
    request = httpx.Request("POST", "mesh://local")
    response = httpx.Response(
        error.status, headers=headers, json={"error": {"message": text}}, request=request
    )
    kind = "budget" if isinstance(error, BudgetExceeded) else None
    return {
        "message": text,
        "status_code": error.status,
        "model": model,
        "llm_provider": "mesh",
        "litellm_debug_info": None,
        "max_retries": None,
        "num_retries": 0,  # litellm's Router takes this for the number of retries it may make
        "request": request,
        "response": response,
        "request_id": None,
        "headers": headers,
        "detail": text,
        "body": None,
        "code": str(error.status),
        "param": None,
        "type": type(error).__name__,
        "category": "litellm_rate_limit" if isinstance(error, QuotaExceeded) else None,
        "rate_limit_type": kind,
        "entity_type": None,
        "entity_id": None,
        "guardrail_name": "mesh",
        "blocked_content": False,
    }


def _headers(error: MeshError) -> dict[str, str]:
    seconds = getattr(error, "retry_after", None)
    if seconds is None:
        return {}
    # RFC 9110 knows whole seconds; the millisecond header is what OpenAI's own client reads first.
    return {
        "retry-after": str(max(1, -int(-seconds // 1))),
        "retry-after-ms": str(max(1, round(seconds * 1000))),
    }


def _budget(error: BudgetExceeded) -> tuple[float, float]:
    """What was spent of how much, in USD, as far as the refusal says it."""
    amount = re.search(r"\$\s*([0-9][0-9_,]*(?:\.[0-9]+)?)", error.limit or "")
    cap = float(re.sub("[_,]", "", amount[1])) if amount else 0.0
    return max(0.0, cap - (error.remaining or 0) / _PICO_PER_USD), cap
