"""Anthropic's format: messages, spoken to callers as OpenAI's chat."""

from __future__ import annotations

from urllib.parse import urlencode

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_plugins.http.transport import HttpRequest
from mesh_plugins.http.wire import base
from mesh_plugins.http.wire.anthropic_reply import chat_reply, finish_reason
from mesh_plugins.http.wire.anthropic_request import translated
from mesh_plugins.http.wire.anthropic_stream import AnthropicChunks
from mesh_plugins.http.wire.failures import protocol_error, stream_error
from mesh_plugins.http.wire.usage import anthropic_usage
from mesh_store.model.errors import ConfigError

HOME = "https://api.anthropic.com"
VERSION = "2023-06-01"


class AnthropicWire:
    """Chat, as messages."""

    def __init__(self) -> None:
        self._endpoints = base.Endpoints(_endpoint)

    def request(self, call: ProviderCall) -> HttpRequest:
        if call.request.operation != "chat":
            raise ConfigError(
                f"provider {call.provider.name!r} (kind anthropic) has no operation "
                f"{call.request.operation!r}: point the alias at a provider that has it"
            )
        endpoint = self._endpoints.of(call)
        body = base.encode(translated(call), call)
        return HttpRequest(endpoint.url, endpoint.headers, body, call.timeout_s, endpoint.idle_s)

    def reply(self, call: ProviderCall, body: bytes) -> ProviderReply:
        try:
            data = base.decode(body)
        except ValueError as error:
            raise protocol_error(call, f"not JSON ({error})", body) from None
        if isinstance(data, dict) and data.get("type") == "error":
            raise stream_error(call, data.get("error"))
        try:
            chars = sum(_chars(block) for block in data["content"])
            usage, flags = anthropic_usage(data.get("usage"), chars)
            return ProviderReply(
                Reply(chat_reply(data, usage)),
                usage,
                finish_reason=finish_reason(data.get("stop_reason")),
                response_model=base.text(data.get("model")),
                response_id=base.text(data.get("id")),
                output_chars=chars,
                flags=flags,
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise protocol_error(call, f"not of its format ({error!r})", body) from None

    def chunks(self, call: ProviderCall) -> AnthropicChunks:
        return AnthropicChunks(call, show_usage=base.asked_for_usage(call))


def _endpoint(call: ProviderCall) -> base.Endpoint:
    return base.Endpoint(_url(call), _headers(call), base.idle_s(call))


def _url(call: ProviderCall) -> str:
    home = (call.provider.base_url or HOME).rstrip("/")
    url = f"{home}/messages" if home.endswith("/v1") else f"{home}/v1/messages"
    return f"{url}?{urlencode(call.provider.query)}" if call.provider.query else url


def _headers(call: ProviderCall) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "*/*",
        "anthropic-version": str(call.provider.options.get("api_version", VERSION)),
    }
    if isinstance(call.secret, dict) and "token" in call.secret:
        headers["authorization"] = base.header(call, "authorization", f"Bearer {call.secret['token']}")
    elif key := base.secret_named(call, "api_key", "key"):
        headers["x-api-key"] = base.header(call, "x-api-key", key)
    for name, value in call.provider.headers.items():
        headers[name.lower()] = base.header(call, name, value)
    return headers


def _chars(block: dict[str, object]) -> int:
    if block.get("type") == "tool_use":
        return len(str(block.get("name"))) + len(str(block.get("input")))
    return len(str(block.get("text") or block.get("thinking") or ""))
