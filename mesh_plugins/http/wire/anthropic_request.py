"""From OpenAI's chat request to Anthropic's messages.

Parameters Anthropic knows pass through under their own names (``top_k``, ``thinking``,
``service_tier``, …). Those only OpenAI knows are refused by name, unless they ask for nothing
(``n=1``) or the provider's option ``drop_params`` is set.
"""

from __future__ import annotations

from typing import Any

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.reply import Node
from mesh_plugins.http.wire.base import decode
from mesh_store.model.errors import ConfigError

#: Sent where neither the caller, the alias nor the target names a cap: Anthropic requires one.
MAX_TOKENS = 4_096
#: What OpenAI's ``reasoning_effort`` buys, in tokens; Anthropic's least is 1,024.
_EFFORTS = {"minimal": 1_024, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768}
#: Translated below.
_TRANSLATED = frozenset(
    {"messages", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice", "parallel_tool_calls"}
    | {"user", "response_format", "reasoning_effort", "stream", "stream_options", "drop_params", "metadata"}
)
#: OpenAI's own: the values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "seed": (),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "prediction": (),
    "modalities": (["text"],),
    "audio": (),
    "store": (False,),
    "functions": (),
    "function_call": (),
    "web_search_options": (),
    "verbosity": ("medium",),
}


def translated(call: ProviderCall) -> dict[str, Any]:
    """Return the body for Anthropic.

    Raises:
        ConfigError: it asks for what Anthropic does not have; names the parameter.
    """
    payload = call.payload
    body: dict[str, Any] = {}
    for name, value in payload.items():
        if name in _UNSUPPORTED:
            if value is not None and value not in _UNSUPPORTED[name]:
                _refuse(call, name)
        elif name not in _TRANSLATED and value is not None:
            body[name] = value
    system, body["messages"] = conversation(call, payload.get("messages") or [])
    if system:
        body["system"] = system[0]["text"] if system == [_text(system[0].get("text"))] else system
    body["max_tokens"] = _max_tokens(call)
    if stop := payload.get("stop"):
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    _tools(call, body)
    _reasoning(call, body)
    _format(call, body)
    _metadata(call, body)
    if call.stream:
        body["stream"] = True
    return body


def conversation(call: ProviderCall, messages: list[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Split messages into the system's blocks and turns that alternate."""
    system: list[Any] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, blocks = _turn(call, message)
        if role == "system":
            system += blocks
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks  # results of several tools are one turn
        elif blocks:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if len(turn["content"]) == 1 and turn["content"][0].keys() == {"type", "text"}:
            turn["content"] = turn["content"][0]["text"]
    return system, turns


def _turn(call: ProviderCall, message: Any) -> tuple[str, list[dict[str, Any]]]:
    message = message.to_dict() if isinstance(message, Node) else message
    role, content = message.get("role"), message.get("content")
    if role in ("system", "developer"):
        return "system", _blocks(call, content)
    if role == "user":
        return "user", _blocks(call, content)
    if role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
        result["content"] = content if isinstance(content, str) else _blocks(call, content)
        return "user", [_cached(result, message)]
    if role == "assistant":
        return "assistant", _assistant(call, message)
    raise ConfigError(f"{_whom(call)} has no role {role!r}: use system, user, assistant or tool")


def _assistant(call: ProviderCall, message: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = [*(message.get("thinking_blocks") or ()), *_blocks(call, message.get("content"))]
    for tool in message.get("tool_calls") or ():
        function = tool.get("function") or {}
        blocks.append(
            {
                "type": "tool_use",
                "id": tool.get("id"),
                "name": function.get("name"),
                "input": _arguments(function.get("arguments")),
            }
        )
    return blocks


def _arguments(text: Any) -> dict[str, Any]:
    """Read the arguments a model once wrote; what is no object is kept as text."""
    if isinstance(text, dict):
        return text
    try:
        value = decode((text or "{}").encode())
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


def _blocks(call: ProviderCall, content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [_text(content)] if content else []  # an empty block is an error there
    return [block for part in content if (block := _block(call, part))]


def _block(call: ProviderCall, part: Any) -> dict[str, Any] | None:
    if isinstance(part, str):
        return _text(part) if part else None
    part = part.to_dict() if isinstance(part, Node) else part
    kind = part.get("type")
    if kind == "text":
        return dict(part) if part.get("text") else None
    if kind == "image_url":
        url = part["image_url"]
        return _cached(
            {"type": "image", "source": _source(url if isinstance(url, str) else url["url"])}, part
        )
    if kind == "file" and (part.get("file") or {}).get("file_data"):
        return _cached({"type": "document", "source": _source(part["file"]["file_data"])}, part)
    if kind in ("input_audio", "file", "refusal"):
        _refuse(call, f"messages: a part of type {kind}")
        return None
    return dict(part)  # already Anthropic's own: image, document, tool_result, thinking, …


def _source(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url[5:].partition(",")
    return {"type": "base64", "media_type": head.partition(";")[0] or "image/png", "data": data}


def _text(text: Any) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _cached(block: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _max_tokens(call: ProviderCall) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if (value := call.payload.get(name)) is not None:
            return value  # type: ignore[no-any-return]  # the provider judges what the caller wrote
    return call.target.max_output_tokens or MAX_TOKENS


def _tools(call: ProviderCall, body: dict[str, Any]) -> None:
    payload = call.payload
    if tools := payload.get("tools"):
        body["tools"] = [_tool(tool) for tool in tools]
    choice = payload.get("tool_choice")
    if isinstance(choice, str):
        choice = {"type": {"required": "any"}.get(choice, choice)}
    elif isinstance(choice, dict) and "function" in choice:
        choice = {"type": "tool", "name": choice["function"]["name"]}
    if payload.get("parallel_tool_calls") is False and tools:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice:
        body["tool_choice"] = choice


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool  # Anthropic's own
    made = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    if function.get("description"):
        made["description"] = function["description"]
    return _cached(made, tool)


def _reasoning(call: ProviderCall, body: dict[str, Any]) -> None:
    effort = call.payload.get("reasoning_effort")
    if effort in (None, "none") or "thinking" in body:
        return
    if effort not in _EFFORTS:
        raise ConfigError(f"{_whom(call)}: reasoning_effort {effort!r} is not one of {', '.join(_EFFORTS)}")
    budget = min(_EFFORTS[effort], body["max_tokens"] - 1)
    if budget >= _EFFORTS["low"]:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _format(call: ProviderCall, body: dict[str, Any]) -> None:
    shape = call.payload.get("response_format")
    if not shape or shape.get("type") == "text":
        return
    if shape.get("type") != "json_schema":
        _refuse(call, f"response_format of type {shape.get('type')}")
        return
    schema = shape["json_schema"].get("schema") or {}
    body["output_config"] = {
        **body.get("output_config", {}),
        "format": {"type": "json_schema", "schema": schema},
    }


def _metadata(call: ProviderCall, body: dict[str, Any]) -> None:
    metadata = call.payload.get("metadata") or {}
    if metadata.keys() - {"user_id"}:
        _refuse(call, "metadata")
    user = metadata.get("user_id") or call.payload.get("user")
    if user is not None:
        body["metadata"] = {"user_id": user}


def _refuse(call: ProviderCall, name: str) -> None:
    if call.provider.options.get("drop_params") or call.payload.get("drop_params"):
        return
    raise ConfigError(f"{_whom(call)} does not support {name}: leave it out, or set the option drop_params")


def _whom(call: ProviderCall) -> str:
    return f"provider {call.provider.name!r} (kind anthropic)"
