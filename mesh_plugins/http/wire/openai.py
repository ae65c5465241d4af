"""OpenAI's format, which most vendors and local servers speak too; Azure's with ``azure: true``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_plugins.http.transport import HttpRequest
from mesh_plugins.http.wire import base
from mesh_plugins.http.wire.failures import protocol_error, stream_error
from mesh_plugins.http.wire.openai_stream import OpenAIChunks, ResponsesChunks, message_chars
from mesh_plugins.http.wire.usage import openai_usage
from mesh_store.model.errors import ConfigError

HOME = "https://api.openai.com/v1"
_PATHS = {
    "chat": "/chat/completions",
    "text_completion": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
}
#: Where a reply of each operation keeps what was asked for.
_CONTENTS = {"chat": "choices", "text_completion": "choices", "embeddings": "data", "responses": "output"}


class OpenAIWire:
    """Chat, text completions, embeddings and responses."""

    def __init__(self) -> None:
        self._endpoints = base.Endpoints(_endpoint)

    def request(self, call: ProviderCall) -> HttpRequest:
        endpoint = self._endpoints.of(call)
        body = base.encode(_body(call), call)
        return HttpRequest(endpoint.url, endpoint.headers, body, call.timeout_s, endpoint.idle_s)

    def reply(self, call: ProviderCall, body: bytes) -> ProviderReply:
        operation = call.request.operation
        try:
            data = base.decode(body)
        except ValueError as error:
            raise protocol_error(call, f"not JSON ({error})", body) from None
        if not isinstance(data, dict):
            raise protocol_error(call, "not a JSON object", body)
        if data.get("error") and (operation != "responses" or "output" not in data):
            raise stream_error(call, data["error"])
        contents = data.get(_CONTENTS[operation])
        if not isinstance(contents, list) or (not contents and operation != "responses"):
            raise protocol_error(call, f"no {_CONTENTS[operation]!r}", body)
        try:
            return _reply(operation, data, contents)
        except (AttributeError, KeyError, TypeError) as error:
            raise protocol_error(call, f"not of its format ({error})", body) from None

    def chunks(self, call: ProviderCall) -> OpenAIChunks | ResponsesChunks:
        if call.request.operation == "responses":
            return ResponsesChunks(call)
        return OpenAIChunks(call, hide_usage=not base.asked_for_usage(call))


def _endpoint(call: ProviderCall) -> base.Endpoint:
    return base.Endpoint(_url(call), _headers(call), base.idle_s(call))


def _url(call: ProviderCall) -> str:
    provider, operation = call.provider, call.request.operation
    path = _PATHS.get(operation)
    if path is None:
        raise ConfigError(f"provider {provider.name!r} (kind openai) has no operation {operation!r}")
    if provider.options.get("azure"):
        url = _azure_url(call, path)
    else:
        url = (provider.base_url or HOME).rstrip("/") + path
    query = dict(provider.query)
    if "api_version" in provider.options:
        query.setdefault("api-version", str(provider.options["api_version"]))
    return f"{url}?{urlencode(query)}" if query else url


def _azure_url(call: ProviderCall, path: str) -> str:
    """Return Azure's address: its v1 API, or the deployment's where an ``api_version`` is given."""
    if not call.provider.base_url:
        raise ConfigError(
            f"provider {call.provider.name!r} has azure: true and needs base_url (https://NAME.openai.azure.com)"
        )
    home = call.provider.base_url.rstrip("/")
    if "api_version" not in call.provider.options:
        return home + path if home.endswith("/v1") else f"{home}/openai/v1{path}"
    if call.request.operation == "responses":
        return f"{home}/openai{path}"
    return f"{home}/openai/deployments/{quote(call.target.model, safe='')}{path}"


def _headers(call: ProviderCall) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "text/event-stream" if call.stream else "*/*"}
    if call.provider.options.get("azure") and (key := base.secret_named(call, "api_key", "key")):
        headers["api-key"] = base.header(call, "api-key", key)
    elif token := base.secret_named(call, "api_key", "key", "token"):
        headers["authorization"] = base.header(call, "authorization", f"Bearer {token}")
    for name, value in call.provider.headers.items():
        headers[name.lower()] = base.header(call, name, value)
    return headers


def _body(call: ProviderCall) -> dict[str, Any]:
    body = call.payload
    if "stream" in body or "drop_params" in body:
        body = {name: value for name, value in body.items() if name not in ("stream", "drop_params")}
    if not call.stream:
        return body
    body = {**body, "stream": True}
    if call.request.operation == "responses":
        return body
    if call.provider.options.get("stream_usage", True):
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def _reply(operation: str, data: dict[str, Any], contents: list[Any]) -> ProviderReply:
    chars = 0
    finish: Any = None
    if operation == "responses":
        finish = data.get("status")
        for item in contents:
            chars += _item_chars(item)
    elif operation != "embeddings":
        finish = contents[0].get("finish_reason")
        for choice in contents:
            message = choice.get("message")
            chars += len(choice.get("text") or "") if message is None else message_chars(message)
    usage, flags = openai_usage(data.get("usage"), chars, data.get("service_tier"))
    model, name = base.text(data.get("model")), base.text(data.get("id"))
    return ProviderReply(Reply(data), usage, base.text(finish), model, name, chars, flags)


def _item_chars(item: dict[str, Any]) -> int:
    parts = item.get("content") or ()
    return len(item.get("arguments") or "") + sum(len(part.get("text") or "") for part in parts)
