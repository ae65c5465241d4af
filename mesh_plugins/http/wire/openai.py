"""OpenAI's format, which most vendors and local servers speak too; Azure's with ``azure: true``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from mesh_plugins.core.call import ProviderCall, ProviderReply
from mesh_plugins.http.reply import Reply
from mesh_plugins.http.transport import HttpRequest
from mesh_plugins.http.wire import base
from mesh_plugins.http.wire.failures import protocol_error, stream_error
from mesh_plugins.http.wire.openai_stream import OpenAIChunks, ResponsesChunks
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

    def request(self, call: ProviderCall) -> HttpRequest:
        return HttpRequest(
            url=_url(call),
            headers=_headers(call),
            body=base.encode(_body(call), call),
            timeout_s=call.timeout_s,
            idle_s=base.idle_s(call),
        )

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
        except (AttributeError, TypeError, KeyError) as error:
            raise protocol_error(call, f"not of its format ({error})", body) from None

    def chunks(self, call: ProviderCall) -> OpenAIChunks | ResponsesChunks:
        if call.request.operation == "responses":
            return ResponsesChunks(call)
        return OpenAIChunks(call, hide_usage=not base.asked_for_usage(call))


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
    finish: str | None = None
    if operation == "chat":
        chars = sum(_message_chars(choice.get("message") or {}) for choice in contents)
        finish = contents[0].get("finish_reason")
    elif operation == "text_completion":
        chars = sum(len(choice.get("text") or "") for choice in contents)
        finish = contents[0].get("finish_reason")
    elif operation == "responses":
        chars = sum(_item_chars(item) for item in contents)
        finish = data.get("status")
    usage, flags = openai_usage(data.get("usage"), chars)
    return ProviderReply(
        Reply(data),
        usage,
        finish_reason=base.text(finish),
        response_model=base.text(data.get("model")),
        response_id=base.text(data.get("id")),
        output_chars=chars,
        flags=flags,
    )


def _message_chars(message: dict[str, Any]) -> int:
    chars = len(message.get("content") or "") + len(message.get("reasoning_content") or "")
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        chars += len(function.get("name") or "") + len(function.get("arguments") or "")
    return chars


def _item_chars(item: dict[str, Any]) -> int:
    parts = item.get("content") or ()
    return len(item.get("arguments") or "") + sum(len(part.get("text") or "") for part in parts)
