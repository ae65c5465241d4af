"""From Anthropic's messages to OpenAI's chat reply."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from mesh_plugins.http.wire.base import text
from mesh_store.model.usage import Usage

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: Any) -> str | None:
    """Return OpenAI's word for a stop reason; a new one is passed on as it is."""
    word = text(stop_reason)
    return None if word is None else _FINISH.get(word, word)


def chat_reply(data: dict[str, Any], usage: Usage | None) -> dict[str, Any]:
    """Return a chat completion."""
    message = message_of(data["content"])
    reply: dict[str, Any] = {
        "id": data.get("id"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": data.get("model"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": finish_reason(data.get("stop_reason")),
            }
        ],
    }
    if usage is not None:
        reply["usage"] = usage_of(usage)
    return reply


def message_of(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's message for blocks of content."""
    texts: list[str] = []
    thoughts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        kind = block["type"]
        if kind == "text":
            texts.append(block["text"])
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
        elif kind == "tool_use":
            calls.append(tool_call(block["id"], block["name"], msgspec.json.encode(block["input"]).decode()))
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        # Sent back with the next turn as they are: their signatures are checked there.
        message["thinking_blocks"] = thoughts
        message["reasoning_content"] = "".join(block.get("thinking", "") for block in thoughts)
    return message


def tool_call(call_id: Any, name: Any, arguments: str) -> dict[str, Any]:
    """Return one tool call."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return usage as OpenAI words it: the prompt includes its cached parts."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_creation_tokens": usage.cache_write_tokens,
        },
    }
