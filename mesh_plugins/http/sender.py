"""`DirectSender`: speaks to providers itself, once per attempt."""

from __future__ import annotations

from collections.abc import Mapping

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.default import DefaultTransport
from mesh_plugins.http.streams import AsyncDirectStream, DirectStream
from mesh_plugins.http.transport import MOST_ERROR_BODY, Transport, TransportFailure, header
from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_plugins.http.wire.base import Wire
from mesh_plugins.http.wire.failures import protocol_error, status_error, unreachable
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_store.model.errors import ConfigError, ProviderError

_WIRES: dict[str, Wire] = {"openai": OpenAIWire(), "anthropic": AnthropicWire()}


class DirectSender:
    """The core's `Sender` over a transport: no retries, no redirects, no fallbacks of its own.

    Replies are `mesh_plugins.http.reply.Reply` objects in OpenAI's shape, chunks too. Everything the
    provider does wrong is a `ProviderError`; what the configuration asks for and the provider does
    not have is a `ConfigError`.
    """

    def __init__(self, transport: Transport | None = None) -> None:
        self._transport = transport or DefaultTransport()

    def send(self, call: ProviderCall) -> ProviderReply:
        wire = _wire(call)
        try:
            response = self._transport.send(wire.request(call))
        except TransportFailure as failure:
            raise unreachable(call, failure) from None
        if not 200 <= response.status < 300:
            raise status_error(call, response.status, response.headers, response.body)
        return wire.reply(call, response.body)

    async def asend(self, call: ProviderCall) -> ProviderReply:
        wire = _wire(call)
        try:
            response = await self._transport.asend(wire.request(call))
        except TransportFailure as failure:
            raise unreachable(call, failure) from None
        if not 200 <= response.status < 300:
            raise status_error(call, response.status, response.headers, response.body)
        return wire.reply(call, response.body)

    def stream(self, call: ProviderCall) -> DirectStream:
        wire = _wire(call)
        try:
            source = self._transport.stream(wire.request(call))
            if _is_stream(source.status, source.headers):
                return DirectStream(call, source, wire.chunks(call))
            try:
                body = bytearray()
                while len(body) < MOST_ERROR_BODY and (piece := source.read()):
                    body += piece
            finally:
                source.close()
        except TransportFailure as failure:
            raise unreachable(call, failure) from None
        raise _no_stream(call, source.status, source.headers, bytes(body))

    async def astream(self, call: ProviderCall) -> AsyncDirectStream:
        wire = _wire(call)
        try:
            source = await self._transport.astream(wire.request(call))
            if _is_stream(source.status, source.headers):
                return AsyncDirectStream(call, source, wire.chunks(call))
            try:
                body = bytearray()
                while len(body) < MOST_ERROR_BODY and (piece := await source.read()):
                    body += piece
            finally:
                await source.close()
        except TransportFailure as failure:
            raise unreachable(call, failure) from None
        raise _no_stream(call, source.status, source.headers, bytes(body))

    def failure(self, call: ProviderCall, error: Exception) -> ProviderError | None:
        """Translate what `send` or a stream raised; None when it is not the provider's doing."""
        if isinstance(error, TransportFailure):
            return unreachable(call, error)
        return error if isinstance(error, ProviderError) else None

    def close(self) -> None:
        """Let go of connections; may be called twice."""
        self._transport.close()

    async def aclose(self) -> None:
        """Let go of connections, those of the running event loop included."""
        await self._transport.aclose()


def _wire(call: ProviderCall) -> Wire:
    kind = call.provider.kind
    wire = _WIRES.get(kind)
    if wire is not None:
        return wire
    if kind == "litellm":
        raise ConfigError(
            f"provider {call.provider.name!r} is of kind litellm, which runs through LiteLLM: "
            "install mesh-plugins[litellm] and call it through mesh_plugins.hosts.litellm"
        )
    raise ConfigError(
        f"provider {call.provider.name!r} is of kind {kind!r}; known are {', '.join(_WIRES)}, litellm"
    )


def _is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Tell whether an answer is a stream; servers that name no type, or text/plain, are believed."""
    kind = header(headers, "content-type") or ""
    return 200 <= status < 300 and "json" not in kind and "html" not in kind


def _no_stream(call: ProviderCall, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    if 200 <= status < 300:
        return protocol_error(call, f"{header(headers, 'content-type')} where a stream was asked for", body)
    return status_error(call, status, headers, body)
