"""Reading litellm's replies and chunks: usage, finish reason, ids, and how much was generated.

One reader per shape. A reader fills one `ProviderReply` in place, because a stream may be given up at
any chunk and is then settled at what was read so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mesh_plugins.core.call import ProviderReply
from mesh_plugins.hosts.litellm.usage import (
    Unbelievable,
    larger,
    messages_usage,
    openai_usage,
    responses_usage,
    told,
)
from mesh_store.model.usage import Usage


class Reader(Protocol):
    """Reads one shape of reply.

    Attributes:
        reply: what is known so far.
        finished: True once the provider said how it ended.
    """

    reply: ProviderReply
    finished: bool

    def whole(self, body: Any) -> ProviderReply:
        """Read a complete reply."""
        ...

    def chunk(self, chunk: Any) -> None:
        """Read one chunk of a stream."""
        ...


class _Reading:
    """What the readers share: the reply they fill, and how much of the usage they believe."""

    def __init__(self) -> None:
        self.reply = ProviderReply(body=None)
        self.finished = False
        self._said: Usage | None = None
        self._service: Any = None

    def _believe(self, read: Callable[..., Usage | None], said: Any, *service: Any) -> None:
        """Take a report of usage; one that cannot be true spoils all of them."""
        if said is None or "usage_suspect" in self.reply.flags:
            return
        try:
            self._said = larger(self._said, read(said, *service))
        except Unbelievable:
            self._said, self.reply.flags = None, (*self.reply.flags, "usage_suspect")

    def _conclude(self) -> None:
        """Say what was used so far; before the end a report is only a first word (Anthropic's is)."""
        usage = self._said
        if usage is not None and not self.finished:
            output = max(usage.output_tokens, (self.reply.output_chars + 3) // 4)
            usage = msgspec.structs.replace(usage, output_tokens=output, estimated=True)
        self.reply.usage = usage

    def _identify(self, body: Any) -> None:
        self.reply.response_id = getattr(body, "id", None) or self.reply.response_id
        self.reply.response_model = getattr(body, "model", None) or self.reply.response_model

    def _from_cache(self, body: Any) -> bool:
        """Tell whether litellm's cache answered: then nothing was used."""
        hidden = getattr(body, "_hidden_params", None)
        cached = isinstance(hidden, Mapping) and hidden.get("cache_hit") is True
        if cached:
            self.reply.usage, self.reply.flags = Usage(), ("cache_hit",)
        return cached


class ChatReader(_Reading):
    """Chat completions, text completions and embeddings: OpenAI's shapes."""

    def whole(self, body: Any) -> ProviderReply:
        """Read a complete reply."""
        self._identify(body)
        self.reply.body, self.finished = body, True
        if not self._from_cache(body):
            self._believe(openai_usage, told(body, "usage"), told(body, "service_tier"))
            self._conclude()
        choices = getattr(body, "choices", None) or ()
        for choice in choices:
            self.reply.finish_reason = getattr(choice, "finish_reason", None) or self.reply.finish_reason
            if self.reply.usage is None:  # characters matter only where tokens are unknown
                self._count(choice, getattr(choice, "message", None))
        return self.reply

    def chunk(self, chunk: Any) -> None:
        """Read one chunk."""
        self._identify(chunk)
        for choice in getattr(chunk, "choices", None) or ():
            self._choice(choice, getattr(choice, "delta", None))
        self._service = told(chunk, "service_tier") or self._service
        self._believe(openai_usage, told(chunk, "usage"), self._service)
        self._conclude()

    def held_back(self, chunks: Sequence[Any]) -> None:
        """Read the usage of chunks that litellm keeps from its caller."""
        for chunk in chunks:
            self._believe(openai_usage, getattr(chunk, "usage", None), self._service)
        self._conclude()

    def _count(self, choice: Any, said: Any) -> None:
        self.reply.output_chars += _length(said) + len(getattr(choice, "text", None) or "")

    def _choice(self, choice: Any, said: Any) -> None:
        self._count(choice, said)
        reason = getattr(choice, "finish_reason", None)
        if reason:
            self.reply.finish_reason, self.finished = str(reason), True


class ResponsesReader(_Reading):
    """The Responses API: a reply object, or events of which the last one carries it."""

    _TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def whole(self, body: Any) -> ProviderReply:
        """Read a complete reply."""
        self.reply.body = body
        self._end(body)
        self._from_cache(body)
        return self.reply

    def chunk(self, chunk: Any) -> None:
        """Read one event."""
        delta = getattr(chunk, "delta", None)
        if isinstance(delta, str):
            self.reply.output_chars += len(delta)
        kind = getattr(chunk, "type", None)
        if str(getattr(kind, "value", kind)) in self._TERMINAL:
            self._end(getattr(chunk, "response", None), streamed=True)

    def _end(self, body: Any, *, streamed: bool = False) -> None:
        self.finished = True
        self._identify(body)
        status = getattr(body, "status", None)
        self.reply.finish_reason = str(status) if status else None
        usage = getattr(body, "usage", None)
        self._believe(responses_usage, usage, getattr(body, "service_tier", None))
        if streamed and self._said is not None and not _has_details(usage):
            # litellm 1.106 counts by itself, and does not say so, where a stream came without usage. What it
            # makes has no details, which OpenAI's always has; a server that leaves them out is marked, too.
            self._said = msgspec.structs.replace(self._said, estimated=True)
        self._conclude()


def _has_details(usage: Any) -> bool:
    return any(getattr(usage, f"{side}_tokens_details", None) is not None for side in ("input", "output"))


class MessagesReader(_Reading):
    """Anthropic's Messages through litellm: a mapping, or server-sent events as bytes."""

    #: An event longer than this is not one we wait for.
    _MOST_BUFFERED = 4 << 20

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""

    def whole(self, body: Any) -> ProviderReply:
        """Read a complete reply."""
        self.reply.body, self.finished = body, True
        if isinstance(body, Mapping):
            self._message(body)
            self.reply.finish_reason = body.get("stop_reason")
        self._conclude()
        return self.reply

    def chunk(self, chunk: Any) -> None:
        """Read a piece of the stream: bytes that may end in the middle of an event, or an event."""
        if isinstance(chunk, Mapping):
            chunk = b"data:" + msgspec.json.encode(chunk) + b"\n"
        if isinstance(chunk, str):
            chunk = chunk.encode()
        if not isinstance(chunk, bytes):
            return
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest if len(rest) <= self._MOST_BUFFERED else b""
        for line in lines:
            if line.startswith(b"data:"):
                try:
                    event = msgspec.json.decode(line[5:])
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if isinstance(event, dict):
                    self._event(event)
        self._conclude()

    def _event(self, event: Mapping[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                self._message(event.get("message") or {})
            case "content_block_delta":
                delta = event.get("delta") or {}
                for name in ("text", "thinking", "partial_json"):
                    self.reply.output_chars += len(delta.get(name) or "")
            case "message_delta":
                self.reply.finish_reason = (event.get("delta") or {}).get("stop_reason")
                self.finished = self.finished or self.reply.finish_reason is not None
                self._believe(messages_usage, event.get("usage"))
            case "message_stop":
                self.finished = True

    def _message(self, message: Mapping[str, Any]) -> None:
        self.reply.response_id, self.reply.response_model = message.get("id"), message.get("model")
        self._believe(messages_usage, message.get("usage"))


def _length(said: Any) -> int:
    """Characters of a message or delta: text, reasoning, tool calls."""
    if said is None:
        return 0
    length = len(getattr(said, "content", None) or "") + len(getattr(said, "reasoning_content", None) or "")
    for call in getattr(said, "tool_calls", None) or ():
        length += len(getattr(getattr(call, "function", None), "arguments", None) or "")
    return length
