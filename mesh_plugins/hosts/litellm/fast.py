"""``install(fast=True)``: chat goes to the provider through our direct caller, litellm only lends its types.

litellm spends milliseconds on each call. What a call may skip is decided per attempt: chat to providers
of kind ``openai`` or ``anthropic``, while nothing of litellm's own takes part: no callback or cache is
registered and the caller asks for no mock, guardrail or the like. Every other call takes the usual way,
so nothing is lost silently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import litellm

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.core.ports import AsyncProviderStream, ProviderStream, Sender
from mesh_plugins.hosts.litellm.failures import provider_failure
from mesh_plugins.hosts.litellm.sender import LiteLLMSender
from mesh_store.model.errors import ProviderError

#: Local keywords that change nothing about the answer.
_IDLE = frozenset(
    {"id", "litellm_call_id", "litellm_metadata", "litellm_session_id", "litellm_trace_id", "metadata"}
    | {"model_info", "proxy_server_request", "tags", "verbose", "drop_params", "no-log"}
)
_LISTENERS = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "input_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "_async_input_callback",
)


class FastSender:
    """Sends an attempt directly where nobody would notice, and through litellm otherwise."""

    __slots__ = ("_direct", "_usual")

    def __init__(self, direct: Sender, usual: LiteLLMSender) -> None:
        self._direct, self._usual = direct, usual

    def send(self, call: ProviderCall) -> ProviderReply:
        """Send and wait for the whole reply."""
        if not self._unnoticed(call):
            return self._usual.send(call)
        return _whole(call, self._direct.send(_plain(call)))

    async def asend(self, call: ProviderCall) -> ProviderReply:
        """Like `send`, on the caller's event loop."""
        if not self._unnoticed(call):
            return await self._usual.asend(call)
        return _whole(call, await self._direct.asend(_plain(call)))

    def stream(self, call: ProviderCall) -> ProviderStream:
        """Send, and return once the provider answered with a status."""
        if not self._unnoticed(call):
            return self._usual.stream(call)
        return FastChunks(call, self._direct.stream(_plain(call, self._usual.asked.wants_usage)))

    async def astream(self, call: ProviderCall) -> AsyncProviderStream:
        """Like `stream`, on the caller's event loop."""
        if not self._unnoticed(call):
            return await self._usual.astream(call)
        return AsyncFastChunks(call, await self._direct.astream(_plain(call, self._usual.asked.wants_usage)))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate what either way raised."""
        return self._direct.failure(call, error) or provider_failure(call, error)

    def _unnoticed(self, call: ProviderCall) -> bool:
        asked = self._usual.asked
        return (
            call.provider.kind in ("openai", "anthropic")
            and self._usual.door.name in ("completion", "acompletion")
            and asked.local.keys() <= _IDLE
            and not isinstance(call.payload.get("response_format"), type)
            and litellm.cache is None
            and not any(map(_listened, _LISTENERS))
        )


def _listened(name: str) -> bool:
    # litellm's Gemini leaves its own listener "cache" behind, which does nothing without `litellm.cache`.
    return any(listener != "cache" for listener in getattr(litellm, name, None) or ())


class FastStream:
    """What `fast` streams have of litellm's: the names a caller may ask for."""

    def __init__(self, call: ProviderCall) -> None:
        self.model = call.target.model
        self.custom_llm_provider = call.provider.kind
        self._hidden_params: dict[str, Any] = {"api_base": call.provider.base_url}


class FastChunks:
    """Our direct chunks as litellm's."""

    def __init__(self, call: ProviderCall, inner: ProviderStream) -> None:
        self.native = FastStream(call)
        self.reply = inner.reply
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return _chunk(next(self._inner))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()


class AsyncFastChunks:
    """Like `FastChunks`, on the caller's event loop."""

    def __init__(self, call: ProviderCall, inner: AsyncProviderStream) -> None:
        self.native = FastStream(call)
        self.reply = inner.reply
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return _chunk(await anext(self._inner))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


def _plain(call: ProviderCall, wants_usage: bool = False) -> ProviderCall:
    """Return the attempt with ``extra_body`` laid open, as OpenAI's client would send it."""
    payload = {name: value for name, value in call.payload.items() if name != "extra_body"}
    payload |= call.payload.get("extra_body") or {}
    if wants_usage:
        payload["stream_options"] = {"include_usage": True}
    return replace(call, payload=payload)


def _whole(call: ProviderCall, reply: ProviderReply) -> ProviderReply:
    data = dict(reply.body.items())
    body = litellm.ModelResponse(**data)
    body._hidden_params |= {"custom_llm_provider": call.provider.kind, "api_base": call.provider.base_url}
    reply.body = body
    return reply


def _chunk(chunk: Any) -> Any:
    return litellm.ModelResponseStream(**dict(chunk.items()))
