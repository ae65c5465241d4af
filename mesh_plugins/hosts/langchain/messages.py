"""Between LangChain's messages and OpenAI's: plain functions, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from mesh_plugins.core.info import CallInfo
from mesh_plugins.http.reply import Node
from mesh_store.model.usage import Usage

#: Messages of nothing but text, as most are: LangChain's own function takes longer over them.
_ROLES: dict[type[BaseMessage], str] = {HumanMessage: "user", SystemMessage: "system"}


def to_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as the providers' wire knows them."""
    said: list[dict[str, Any]] = []
    for message in messages:
        role, content = _ROLES.get(type(message)), message.content
        if role is None or type(content) is not str or message.name or message.additional_kwargs:
            return convert_to_openai_messages(list(messages))
        said.append({"role": role, "content": content})
    return said


def to_result(body: Mapping[str, Any], info: CallInfo) -> ChatResult:
    """Return a whole reply as LangChain's result, with usage and what Mesh says of the call."""
    usage = usage_metadata(info.usage)
    metadata = {
        "model_name": body.get("model"),
        "model_provider": "mesh",
        "id": body.get("id"),
        "system_fingerprint": body.get("system_fingerprint"),
        "mesh": describe(info),
    }
    generations = []
    for choice in body["choices"]:
        message = _message(choice["message"], usage)
        message.response_metadata = {**metadata, "finish_reason": choice.get("finish_reason")}
        if choice.get("logprobs") is not None:
            message.response_metadata["logprobs"] = _plain(choice["logprobs"])
        generations.append(
            ChatGeneration(message=message, generation_info={"finish_reason": choice.get("finish_reason")})
        )
    output = {"model_name": body.get("model"), "id": body.get("id"), "token_usage": _plain(body.get("usage"))}
    return ChatResult(generations=generations, llm_output=output)


def summed(outputs: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return what several replies say of themselves as one: their models' name, their tokens' sums."""
    usage: dict[str, int] = {}
    for output in outputs:
        for name, count in ((output or {}).get("token_usage") or {}).items():
            if type(count) is int:
                usage[name] = usage.get(name, 0) + count
    names = [output["model_name"] for output in outputs if output and output.get("model_name")]
    return {"token_usage": usage, **({"model_name": names[0]} if names else {})}


def to_chunk(body: Mapping[str, Any]) -> ChatGenerationChunk | None:
    """Return one chunk of a stream, or None when it has nothing for a reader."""
    choices = body.get("choices") or []
    if not choices:
        return None
    choice = choices[0]
    delta = choice.get("delta") or {}
    info: dict[str, Any] = {}
    if reason := choice.get("finish_reason"):
        info = {"finish_reason": reason, "model_name": body.get("model"), "model_provider": "mesh"}
    if choice.get("logprobs") is not None:
        info["logprobs"] = _plain(choice["logprobs"])
    message = AIMessageChunk(
        content=delta.get("content") or "",
        tool_call_chunks=[_call_chunk(call) for call in delta.get("tool_calls") or ()],
        additional_kwargs=_extras(delta),
        id=body.get("id"),
        response_metadata=info,
    )
    return ChatGenerationChunk(message=message, generation_info=info or None)


def last_chunk(info: CallInfo) -> ChatGenerationChunk:
    """Return the chunk that carries a stream's usage, its end, and what Mesh says of the call."""
    message = AIMessageChunk(
        content="",
        usage_metadata=usage_metadata(info.usage),
        response_metadata={"mesh": describe(info)},
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message)


def usage_metadata(usage: Usage) -> UsageMetadata:
    """Return tokens as LangChain counts them: input includes cache, as ours does."""
    details_in: InputTokenDetails = {}
    details_out: OutputTokenDetails = {}
    if usage.cache_read_tokens:
        details_in["cache_read"] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        details_in["cache_creation"] = usage.cache_write_tokens
    if usage.audio_input_tokens:
        details_in["audio"] = usage.audio_input_tokens
    if usage.reasoning_tokens:
        details_out["reasoning"] = usage.reasoning_tokens
    if usage.audio_output_tokens:
        details_out["audio"] = usage.audio_output_tokens
    metadata: UsageMetadata = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    if details_in:
        metadata["input_token_details"] = details_in
    if details_out:
        metadata["output_token_details"] = details_out
    return metadata


def describe(info: CallInfo) -> dict[str, Any]:
    """Return what Mesh says of a call, as plain values that survive serialisation."""
    return {
        "call_id": info.call_id,
        "target": info.target,
        "cost_usd": None if info.cost is None else str(info.cost),
        "attempts": info.attempts,
        "revision": info.revision,
    }


def _message(raw: Mapping[str, Any], usage: UsageMetadata) -> AIMessage:
    calls, invalid = [], []
    for call in raw.get("tool_calls") or ():
        try:
            calls.append(parse_tool_call(call, return_id=True))
        except Exception as error:  # the model wrote arguments that are no JSON: LangChain keeps them aside
            invalid.append(make_invalid_tool_call(call, str(error)))
    return AIMessage(
        content=raw.get("content") or "",
        tool_calls=[call for call in calls if call],
        invalid_tool_calls=[invalid_tool_call(**_bare(call)) for call in invalid],
        additional_kwargs=_extras(raw),
        usage_metadata=usage,
    )


def _bare(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: call.get(name) for name in ("name", "args", "id", "error")}


def _extras(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(raw[name]) for name in ("refusal", "reasoning_content", "audio") if raw.get(name)}


def _plain(value: Any) -> Any:
    """Return what LangChain's checkpoints and caches can write down: plain dicts and lists."""
    return value.to_dict() if isinstance(value, Node) else value


def _call_chunk(call: Mapping[str, Any]) -> Any:
    function = call.get("function") or {}
    return tool_call_chunk(
        name=function.get("name"), args=function.get("arguments"), id=call.get("id"), index=call.get("index")
    )
