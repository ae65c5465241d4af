"""Token counts as LangChain reports them (``usage_metadata``), in our canonical form.

LangChain counts inclusively, as we do. A count that is no whole number, a part larger than its whole, or
text that took no tokens is not believed: the core then uses its own estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from msgspec.structs import replace

from mesh_store.model.usage import Usage

#: More tokens than any context window; a provider that says more is wrong.
_MOST = 100_000_000
SUSPECT = ("usage_suspect",)


def message_usage(message: AIMessage) -> tuple[Usage | None, tuple[str, ...]]:
    """Return what a message says was used, and what is doubtful about it; None when nothing is known."""
    said: Any = message.usage_metadata
    if not said:
        return None, ()
    if said.get("total_cost") == 0:  # the only mark of a cache hit; its token counts are the original's
        return Usage(), ()
    try:
        usage = _usage(said, message.response_metadata)
        if message.content and not usage.output_tokens:
            raise ValueError("there is text, and no tokens of output")
    except (AttributeError, TypeError, ValueError):
        return None, SUSPECT
    return usage, ()


def with_input(usage: Usage, estimate: Usage) -> Usage:
    """Return usage whose input is our estimate where it is said to be none: no call reads nothing.

    langchain-anthropic takes a stream's input from its last event alone, where not every server repeats it.
    """
    if usage.input_tokens or not usage.output_tokens:
        return usage
    return replace(usage, input_tokens=estimate.input_tokens, estimated=True)


def _usage(said: Mapping[str, Any], metadata: Mapping[str, Any]) -> Usage:
    into, out = said.get("input_token_details") or {}, said.get("output_token_details") or {}
    hour = _count(into, "ephemeral_1h_input_tokens")
    # langchain-anthropic names either all that was written or, in parts, for how long.
    written = _count(into, "cache_creation") or hour + _count(into, "ephemeral_5m_input_tokens")
    service = metadata.get("service_tier")
    # langchain-openai puts the name of a dearer or cheaper service before its counts.
    read = max(_count(into, name) for name in ("cache_read", f"{service}_cache_read"))
    usage = Usage(
        input_tokens=_count(said, "input_tokens"),
        output_tokens=_count(said, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=max(_count(out, name) for name in ("reasoning", f"{service}_reasoning")),
        audio_input_tokens=_count(into, "audio"),
        audio_output_tokens=_count(out, "audio"),
        cache_write_1h_tokens=hour,
        service=service[:64] if isinstance(service, str) and service else None,
        image_input_tokens=_count(into, "image"),
        image_output_tokens=_count(out, "image"),
    )
    sent, generated = usage.input_tokens, usage.output_tokens
    if hour > written or max(read + written, usage.audio_input_tokens, usage.image_input_tokens) > sent:
        raise ValueError("a part of the input is larger than all of it")
    if max(usage.reasoning_tokens, usage.audio_output_tokens, usage.image_output_tokens) > generated:
        raise ValueError("a part of the output is larger than all of it")
    return usage


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(name)
    return value
