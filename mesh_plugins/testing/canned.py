"""A provider that answers what a test says, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_store.model.errors import ProviderError
from mesh_store.model.usage import Usage


class CannedSender:
    """Answers without a network: with a text, a whole body, or an exception to raise.

    Attributes:
        answer: what to answer, or a function of the `ProviderCall` that says.
        calls: every attempt that was sent.
    """

    def __init__(self, answer: Any = "Hello from memory") -> None:
        self.answer = answer
        self.calls: list[ProviderCall] = []

    def send(self, call: ProviderCall) -> ProviderReply:
        """Answer a whole reply."""
        self.calls.append(call)
        answer = self.answer(call) if callable(self.answer) else self.answer
        if isinstance(answer, BaseException):
            raise answer
        body = _body(call, answer) if isinstance(answer, str) else answer
        return ProviderReply(Reply(body), _usage(body), "stop", call.target.model, body.get("id"))

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Answer a whole reply."""
        return self.send(call)

    def stream(self, call: ProviderCall) -> CannedStream:
        """Answer word by word."""
        return CannedStream(self.send(call))

    async def astream(self, call: ProviderCall) -> CannedStream:
        """Answer word by word."""
        return CannedStream(self.send(call))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Say nothing: a test's own exception stays what it is."""
        return None


class CannedStream:
    """A canned answer in chunks, one word each; both colours."""

    def __init__(self, reply: ProviderReply) -> None:
        self.reply = reply
        text = reply.body.choices[0].message.content or ""
        head = {"id": reply.response_id, "object": "chat.completion.chunk", "model": reply.response_model}
        pieces: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            for word in text.split(" ")
        ]
        pieces.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return Reply(next(self._pieces))

    def __aiter__(self) -> CannedStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop."""
        self._pieces = iter(())

    async def aclose(self) -> None:
        """Stop."""
        self.close()


def _body(call: ProviderCall, text: str) -> dict[str, Any]:
    if call.request.operation == "embeddings":
        given = call.payload.get("input")
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": i, "embedding": [0.0, 1.0, 0.5]} for i, _ in enumerate(texts)
        ]
        return {
            "object": "list",
            "model": call.target.model,
            "data": data,
            "usage": {"prompt_tokens": len(texts)},
        }
    words = len(text.split())
    return {
        "id": f"memory-{call.request.id}",
        "object": "chat.completion",
        "model": call.target.model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": words, "total_tokens": 8 + words},
    }


def _usage(body: Mapping[str, Any]) -> Usage | None:
    said = body.get("usage")
    return Usage(said.get("prompt_tokens", 0), said.get("completion_tokens", 0)) if said else None
