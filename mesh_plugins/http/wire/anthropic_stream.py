"""From Anthropic's stream of messages to OpenAI's chunks."""

from __future__ import annotations

import time
from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_plugins.http.wire.anthropic_reply import finish_reason, tool_call, usage_of
from mesh_plugins.http.wire.base import decode, text
from mesh_plugins.http.wire.failures import protocol_error, stream_error
from mesh_plugins.http.wire.sse import SseParser
from mesh_plugins.http.wire.usage import anthropic_usage
from mesh_store.model.errors import ProviderError


class AnthropicChunks:
    """Chunks of messages; usage comes as a last chunk without choices when it was asked for."""

    def __init__(self, call: ProviderCall, *, show_usage: bool) -> None:
        self.reply = ProviderReply(None)
        self.complete = self.done = False
        self.failure: ProviderError | None = None
        self._call = call
        self._show_usage = show_usage
        self._sse = SseParser()
        self._usage: dict[str, Any] = {}
        self._tools: dict[int, int] = {}
        self._head: dict[str, Any] = {"object": "chat.completion.chunk", "created": int(time.time())}

    def feed(self, piece: bytes) -> list[Reply]:
        """Take bytes, return the chunks they complete."""
        chunks: list[Reply] = []
        data = b""
        try:
            for event in self._sse.feed(piece):
                data = event.data
                if not self.done and self.failure is None:
                    self._take(decode(data), chunks)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.failure = protocol_error(self._call, f"a chunk not of its format ({error!r})", data)
        return chunks

    def _take(self, data: dict[str, Any], chunks: list[Reply]) -> None:
        kind = data["type"]
        delta: dict[str, Any] | None = None
        reason: str | None = None
        if kind == "content_block_delta":
            delta = self._delta(data["index"], data["delta"])
        elif kind == "content_block_start":
            delta = self._start(data["index"], data["content_block"])
        elif kind == "message_start":
            delta = self._begin(data["message"])
        elif kind == "message_delta":
            self._count(data.get("usage"))
            if (reason := finish_reason(data["delta"].get("stop_reason"))) is not None:
                self.reply.finish_reason, self.complete, delta = reason, True, {}
        elif kind == "message_stop":
            self.complete = self.done = True
            if self._show_usage and self.reply.usage is not None:
                chunks.append(Reply({**self._head, "choices": [], "usage": usage_of(self.reply.usage)}))
        elif kind == "error":
            self.failure = stream_error(self._call, data.get("error"))
        if delta is not None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            chunks.append(Reply({**self._head, "choices": [choice]}))

    def _begin(self, message: dict[str, Any]) -> dict[str, Any]:
        reply = self.reply
        reply.response_id, reply.response_model = text(message.get("id")), text(message.get("model"))
        self._head |= {"id": reply.response_id, "model": reply.response_model}
        self._note(message.get("usage"))
        reply.begun, _ = anthropic_usage(self._usage or None)
        return {"role": "assistant", "content": ""}

    def _start(self, index: int, block: dict[str, Any]) -> dict[str, Any] | None:
        if block["type"] == "tool_use":
            number = self._tools[index] = len(self._tools)
            self.reply.output_chars += len(block["name"])
            return {"tool_calls": [{"index": number, **tool_call(block["id"], block["name"], "")}]}
        if block["type"] == "redacted_thinking":
            return {"thinking_blocks": [block]}
        return None

    def _delta(self, index: int, delta: dict[str, Any]) -> dict[str, Any] | None:
        kind = delta["type"]
        if kind == "text_delta":
            self.reply.output_chars += len(delta["text"])
            return {"content": delta["text"]}
        if kind == "input_json_delta":
            arguments = delta["partial_json"]
            self.reply.output_chars += len(arguments)
            if not arguments or index not in self._tools:
                return None
            return {"tool_calls": [{"index": self._tools[index], "function": {"arguments": arguments}}]}
        if kind == "thinking_delta":
            thought = delta["thinking"]
            self.reply.output_chars += len(thought)
            return {
                "reasoning_content": thought,
                "thinking_blocks": [{"type": "thinking", "thinking": thought}],
            }
        if kind == "signature_delta":
            return {
                "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": delta["signature"]}]
            }
        return None

    def _note(self, raw: Any) -> None:
        """Lay newer counts over older ones: the beginning has the input, the end the output."""
        if isinstance(raw, dict):
            self._usage |= {name: value for name, value in raw.items() if value is not None}

    def _count(self, raw: Any) -> None:
        """Believe the counts only when the end names some: before, the output is a placeholder."""
        if raw is not None:
            self._note(raw)
            self.reply.usage, self.reply.flags = anthropic_usage(self._usage, self.reply.output_chars)
