"""Which parameters a target is sent, and how much they let it generate.

The caller's go over the alias's defaults; a target's own and the alias's forced ones go over the
caller's. Estimates and hard limits read the cap from here too, so that what is reserved is what is
sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh_plugins.core.call import CallRequest
from mesh_store.model.snapshot import Alias, Target

#: OpenAI's names for the cap on generated tokens, over the years and the operations.
CAPS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def merged(request: CallRequest, alias: Alias, target: Target) -> dict[str, Any]:
    """Return the body to send to ``target``, in OpenAI's shape, with ``model`` set."""
    payload = {**alias.defaults, **request.payload, **target.params, **alias.forced, "model": target.model}
    if (
        alias.max_output_tokens is not None
        and request.operation != "embeddings"
        and asked_cap(payload) is None
    ):
        payload["max_output_tokens" if request.operation == "responses" else "max_tokens"] = (
            alias.max_output_tokens
        )
    return payload


def asked_cap(payload: Mapping[str, Any]) -> int | None:
    """Return the cap a payload itself asks for, or None."""
    for name in CAPS:
        value = payload.get(name)
        if type(value) is int and value > 0:
            return value
    return None


def service_asked(request: CallRequest, alias: Alias, target: Target) -> str | None:
    """Return the service tier ``target`` is asked for, which prices depend on; None is the usual one."""
    for parameters in (alias.forced, target.params, request.payload, alias.defaults):
        if "service_tier" in parameters and (service := parameters["service_tier"]) is not None:
            return service if isinstance(service, str) else None
    return None


def output_cap(request: CallRequest, alias: Alias, target: Target) -> int | None:
    """Return the most tokens ``target`` may generate for this call, all choices together, or None."""
    if request.operation == "embeddings":
        return 0
    payload = {**alias.defaults, **request.payload, **target.params, **alias.forced}
    caps = [cap for cap in (asked_cap(payload) or alias.max_output_tokens, target.max_output_tokens) if cap]
    if not caps:
        return None
    choices = payload.get("n")
    return min(caps) * (choices if type(choices) is int and choices > 1 else 1)
