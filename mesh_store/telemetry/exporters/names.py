"""Every name that leaves this process for OpenTelemetry, in one table with two profiles.

``v1.41`` is the last version of the GenAI conventions in OpenTelemetry's own repository; ``latest`` follows
the renames of the repository they moved to. ``OTEL_SEMCONV_STABILITY_OPT_IN`` chooses, as that project
defines it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

#: Chooses the profile ``latest``.
OPT_IN = "gen_ai_latest_experimental"


class Names(NamedTuple):
    """Names of one profile; attributes first, then metrics."""

    operation: str = "gen_ai.operation.name"
    provider: str = "gen_ai.provider.name"
    request_model: str = "gen_ai.request.model"
    stream: str = "gen_ai.request.stream"
    conversation: str = "gen_ai.conversation.id"
    response_id: str = "gen_ai.response.id"
    response_model: str = "gen_ai.response.model"
    finish_reasons: str = "gen_ai.response.finish_reasons"
    first_chunk: str = "gen_ai.response.time_to_first_chunk"
    input_tokens: str = "gen_ai.usage.input_tokens"
    output_tokens: str = "gen_ai.usage.output_tokens"
    cache_read: str = "gen_ai.usage.cache_read.input_tokens"
    cache_write: str = "gen_ai.usage.cache_creation.input_tokens"
    reasoning: str = "gen_ai.usage.reasoning.output_tokens"
    token_type: str = "gen_ai.token.type"  # noqa: S105 - a name, not a secret
    error: str = "error.type"
    status: str = "http.response.status_code"
    duration: str = "gen_ai.client.operation.duration"
    time_to_first_chunk: str = "gen_ai.client.operation.time_to_first_chunk"
    tokens: str = "gen_ai.client.token.usage"
    team: str = "mesh.team.id"
    user: str = "mesh.user.id"
    key: str = "mesh.key.id"
    alias: str = "mesh.alias"
    attempt: str = "mesh.attempt"
    call: str = "mesh.call.id"
    cost: str = "mesh.cost.pico_usd"
    rate_card: str = "mesh.price.version"
    outcome: str = "mesh.outcome"
    estimated: str = "mesh.usage.estimated"
    spend: str = "mesh.client.cost"
    unpriced: str = "mesh.client.unpriced"
    shadow_denied: str = "mesh.client.shadow_denied"
    unenforced: str = "mesh.client.unenforced"


V1_41 = Names()
LATEST = V1_41._replace(
    cache_write="gen_ai.usage.cache_write.input_tokens",
    duration="gen_ai.client.inference.duration",
    time_to_first_chunk="gen_ai.client.inference.time_to_first_chunk",
)

#: What the conventions call the providers we may know by kind or by the name an operator gave.
PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "groq": "groq",
    "deepseek": "deepseek",
    "xai": "x_ai",
    "cohere": "cohere",
    "perplexity": "perplexity",
}


def names(environ: Mapping[str, str] | None = None) -> Names:
    """Return the profile the environment asks for."""
    asked = (os.environ if environ is None else environ).get("OTEL_SEMCONV_STABILITY_OPT_IN", "")
    return LATEST if OPT_IN in (word.strip() for word in asked.split(",")) else V1_41


def provider_name(provider: str | None) -> str:
    """Return the conventions' word for a provider, or the operator's own name for it."""
    return "_OTHER" if provider is None else PROVIDERS.get(provider, provider)
