"""Replies of providers as they are, each with what is to be read from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Usage

OPENAI = Provider(id="p1", name="openai", kind="openai")
AZURE = Provider(
    id="p1", name="azure", kind="openai", base_url="https://x.openai.azure.com", options={"azure": True}
)
ANTHROPIC = Provider(id="p1", name="anthropic", kind="anthropic")


class Golden(NamedTuple):
    """A reply, whose it is, and what is to be read from it."""

    provider: Provider
    operation: Any
    model: str
    usage: dict[str, Any]
    expected: Usage
    service: str | None = None


CHAT = {
    "prompt_tokens": 12_345,
    "completion_tokens": 678,
    "total_tokens": 13_023,
    "prompt_tokens_details": {"cached_tokens": 8_192, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 300,
        "audio_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
RESPONSES = {
    "input_tokens": 12_345,
    "input_tokens_details": {"cached_tokens": 8_192},
    "output_tokens": 678,
    "output_tokens_details": {"reasoning_tokens": 300},
    "total_tokens": 13_023,
}
SPOKEN = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 700},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 400},
}
MESSAGES = {"input_tokens": 1_000, "output_tokens": 200}
CACHED = {
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_input_tokens": 2_000,
    "cache_creation_input_tokens": 1_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard",
}
HOURS = CACHED | {"cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600}}
LONG = {"input_tokens": 250_000, "output_tokens": 1_000, "cache_read_input_tokens": 10_000}
TEXT = Usage(12_345, 678, cache_read_tokens=8_192, reasoning_tokens=300)
VECTORS = {"prompt_tokens": 1_000, "total_tokens": 1_000}
WRITTEN = Usage(3_100, 50, 2_000, 1_000, service="standard")

GOLDEN = {
    "openai chat": Golden(OPENAI, "chat", "gpt-5", CHAT, TEXT),
    "openai chat, older": Golden(OPENAI, "chat", "gpt-4o", CHAT, TEXT),
    "openai chat, flex": Golden(OPENAI, "chat", "gpt-5", CHAT, TEXT, "flex"),
    "openai chat, priority": Golden(OPENAI, "chat", "gpt-5", CHAT, TEXT, "priority"),
    "openai chat, default": Golden(OPENAI, "chat", "gpt-5", CHAT, TEXT, "default"),
    "openai chat, spoken": Golden(
        OPENAI,
        "chat",
        "gpt-4o-audio-preview",
        SPOKEN,
        Usage(1_000, 500, audio_input_tokens=700, audio_output_tokens=400),
    ),
    "openai responses": Golden(OPENAI, "responses", "gpt-5-mini", RESPONSES, TEXT),
    "openai responses, flex": Golden(OPENAI, "responses", "gpt-5-mini", RESPONSES, TEXT, "flex"),
    "openai embeddings": Golden(OPENAI, "embeddings", "text-embedding-3-small", VECTORS, Usage(1_000)),
    "azure chat": Golden(AZURE, "chat", "gpt-4o", CHAT, TEXT),
    "azure responses": Golden(AZURE, "responses", "gpt-5", RESPONSES, TEXT),
    "azure embeddings": Golden(AZURE, "embeddings", "text-embedding-3-large", VECTORS, Usage(1_000)),
    "anthropic": Golden(ANTHROPIC, "chat", "claude-sonnet-4-5", MESSAGES, Usage(1_000, 200)),
    "anthropic, cached": Golden(ANTHROPIC, "chat", "claude-sonnet-4-5", CACHED, WRITTEN),
    "anthropic, for an hour": Golden(
        ANTHROPIC,
        "chat",
        "claude-haiku-4-5",
        HOURS,
        msgspec.structs.replace(WRITTEN, cache_write_1h_tokens=600),
    ),
    "anthropic, long": Golden(
        ANTHROPIC, "chat", "claude-sonnet-4-5", LONG, Usage(260_000, 1_000, cache_read_tokens=10_000)
    ),
    "anthropic, batch": Golden(
        ANTHROPIC,
        "chat",
        "claude-sonnet-4-5",
        MESSAGES | {"service_tier": "batch"},
        Usage(1_000, 200, service="batch"),
    ),
}
