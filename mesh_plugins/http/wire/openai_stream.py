"""OpenAI's streams: chat and text completions in chunks, responses in named events."""

from __future__ import annotations

from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_plugins.http.wire.base import decode, text
from mesh_plugins.http.wire.failures import protocol_error, stream_error
from mesh_plugins.http.wire.sse import SseParser
from mesh_plugins.http.wire.usage import openai_usage
from mesh_store.model.errors import ProviderError

#: Events that end a response, and what they are called in a fact.
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}


class _Events:
    """What both kinds of stream share: bytes to parsed events, and the first failure kept for later."""

    def __init__(self, call: ProviderCall) -> None:
        self.reply = ProviderReply(None)
        self.complete = self.done = False
        self.failure: ProviderError | None = None
        self._call = call
        self._service: Any = None
        self._sse = SseParser()

    def feed(self, piece: bytes) -> list[Reply]:
        """Take bytes, return the chunks they complete."""
        chunks: list[Reply] = []
        data = b""
        try:
            for event in self._sse.feed(piece):
                data = event.data
                if data == b"[DONE]":
                    self.complete = self.done = True
                elif not self.done and self.failure is None:
                    self._take(decode(data), chunks)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.failure = protocol_error(self._call, f"a chunk not of its format ({error!r})", data)
        return chunks

    def _take(self, data: dict[str, Any], chunks: list[Reply]) -> None:
        raise NotImplementedError

    def _believe(self, raw: Any, service: Any) -> None:
        self.reply.usage, self.reply.flags = openai_usage(raw, self.reply.output_chars, service)


class OpenAIChunks(_Events):
    """Chunks of chat and text completions."""

    def __init__(self, call: ProviderCall, *, hide_usage: bool) -> None:
        super().__init__(call)
        self._hide_usage = hide_usage

    def _take(self, data: dict[str, Any], chunks: list[Reply]) -> None:
        if error := data.get("error"):
            self.failure = stream_error(self._call, error)
            return
        reply = self.reply
        if reply.response_id is None:
            reply.response_id, reply.response_model = text(data.get("id")), text(data.get("model"))
        if (service := data.get("service_tier")) is not None:
            self._service = service
        choices = data.get("choices") or ()
        for choice in choices:
            delta = choice.get("delta")
            reply.output_chars += len(choice.get("text") or "") if delta is None else message_chars(delta)
            if reason := choice.get("finish_reason"):
                reply.finish_reason = text(reason)
                self.complete = True
        if (raw := data.get("usage")) is not None:
            self._believe(raw, self._service)
            if not choices and self._hide_usage:
                return
        chunks.append(Reply(data))


class ResponsesChunks(_Events):
    """Events of a response."""

    def _take(self, data: dict[str, Any], chunks: list[Reply]) -> None:
        kind = data["type"]
        if kind.endswith(".delta"):
            self.reply.output_chars += len(data.get("delta") or "")
        elif kind == "error":
            self.failure = stream_error(self._call, data.get("error") or data)
            return
        elif kind == "response.failed":
            self.failure = stream_error(self._call, data["response"].get("error"))
            return
        elif "response" in data:
            self._note(kind, data["response"])
        chunks.append(Reply(data))

    def _note(self, kind: str, response: dict[str, Any]) -> None:
        reply = self.reply
        reply.response_id, reply.response_model = text(response.get("id")), text(response.get("model"))
        if kind in _ENDS:
            self.complete = self.done = True
            reply.finish_reason = _ENDS[kind]
            self._believe(response.get("usage"), response.get("service_tier"))


def message_chars(message: dict[str, Any]) -> int:
    """Count the characters of a message or of a delta: text, reasoning and tool calls."""
    chars = len(message.get("content") or "")
    if thought := message.get("reasoning_content"):
        chars += len(thought)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        chars += len(function.get("name") or "") + len(function.get("arguments") or "")
    return chars
