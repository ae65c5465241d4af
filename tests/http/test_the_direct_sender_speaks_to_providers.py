"""The same calls over every transport, in both colours, to both kinds of provider, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.errors import ConfigError
from mesh_store.model.usage import Usage

MakeCall = Callable[..., ProviderCall]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def test_a_chat_is_answered(
    caller: Any, provider: StandInProvider, kind: str, url: str, make_call: MakeCall
) -> None:
    reply = caller.send(make_call(url, kind))
    assert reply.body.choices[0].message.content == "stand-in m: hello there"
    assert reply.body.usage.total_tokens == 6
    assert reply.usage == Usage(2, 4)
    assert (reply.finish_reason, reply.response_model, reply.flags) == ("stop", "m", ())
    assert reply.output_chars == len("stand-in m: hello there")
    assert provider.count == 1


def test_a_chat_is_streamed(
    caller: Any, provider: StandInProvider, kind: str, url: str, make_call: MakeCall
) -> None:
    chunks, reply = caller.collect(make_call(url, kind, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == "stand-in m: hello there"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert reply.usage == Usage(2, 4), "usage is always asked for"
    assert (reply.finish_reason, reply.response_model) == ("stop", "m")
    assert reply.output_chars == len(said)
    assert provider.count == 1


def test_the_chunk_with_usage_is_shown_to_who_asked(
    caller: Any, kind: str, url: str, make_call: MakeCall
) -> None:
    chunks, reply = caller.collect(make_call(url, kind, stream=True, stream_options={"include_usage": True}))
    assert len(chunks[-1].choices) == 0
    assert chunks[-1].usage.total_tokens == 6
    assert reply.usage == Usage(2, 4)


def test_tools_go_there_and_back(caller: Any, kind: str, url: str, make_call: MakeCall) -> None:
    asked = {"messages": [{"role": "user", "content": 'get_weather {"city": "Osłó"}'}], "tools": [WEATHER]}
    message = caller.send(make_call(url, kind, **asked)).body.choices[0].message
    assert message.tool_calls[0].function.name == "get_weather"
    assert message.tool_calls[0].function.arguments == '{"city":"Osłó"}'
    chunks, reply = caller.collect(make_call(url, kind, stream=True, **asked))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]
    assert parts[0].function.name == "get_weather"
    assert "".join(part.function.arguments for part in parts) == '{"city":"Osłó"}'
    assert reply.finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    asked["messages"] = [*asked["messages"], message, result]
    assert caller.send(make_call(url, kind, **asked)).finish_reason == "stop"


def test_a_stop_and_a_cap_end_the_text(caller: Any, kind: str, url: str, make_call: MakeCall) -> None:
    assert caller.send(make_call(url, kind, max_tokens=2)).finish_reason == "length"
    reply = caller.send(make_call(url, kind, stop=["there"]))
    assert reply.body.choices[0].message.content == "stand-in m: hello "


def test_embeddings_are_answered(caller: Any, provider: StandInProvider, make_call: MakeCall) -> None:
    call = make_call(provider.base_url, operation="embeddings", input=["a b", "c"], dimensions=4)
    reply = caller.send(call)
    assert [len(item.embedding) for item in reply.body.data] == [4, 4]
    assert reply.usage == Usage(3, 0)


def test_text_completions_are_answered_and_streamed(
    caller: Any, provider: StandInProvider, make_call: MakeCall
) -> None:
    call = make_call(provider.base_url, operation="text_completion", prompt="a b")
    assert caller.send(call).body.choices[0].text == "stand-in m: a b"
    chunks, reply = caller.collect(
        make_call(provider.base_url, operation="text_completion", prompt="a b", stream=True)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == "stand-in m: a b"
    assert reply.usage == Usage(2, 4)


def test_responses_are_answered_and_streamed(
    caller: Any, provider: StandInProvider, make_call: MakeCall
) -> None:
    reply = caller.send(make_call(provider.base_url, operation="responses", input="a b"))
    assert reply.body.output_text == "stand-in m: a b"
    assert (reply.usage, reply.finish_reason) == (Usage(2, 4), "completed")
    chunks, reply = caller.collect(
        make_call(provider.base_url, operation="responses", input="a b", stream=True)
    )
    said = "".join(chunk.delta for chunk in chunks if chunk.type == "response.output_text.delta")
    assert said == "stand-in m: a b"
    assert chunks[-1].type == "response.completed"
    assert (reply.usage, reply.finish_reason, reply.output_chars) == (Usage(2, 4), "completed", len(said))


def test_thinking_and_cached_prompts_arrive(
    caller: Any, provider: StandInProvider, make_call: MakeCall
) -> None:
    cached = {"type": "text", "text": "long prefix here", "cache_control": {"type": "ephemeral"}}
    asked = {
        "messages": [{"role": "system", "content": [cached]}, {"role": "user", "content": "hi"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    first = caller.send(make_call(provider.anthropic_url, "anthropic", **asked))
    assert first.usage.cache_write_tokens == 3
    assert first.body.choices[0].message.reasoning_content == "thinking about: hi"
    chunks, reply = caller.collect(make_call(provider.anthropic_url, "anthropic", stream=True, **asked))
    assert reply.usage.cache_read_tokens == 3
    assert reply.usage.input_tokens == first.usage.input_tokens == 4
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.reasoning_content or "" for delta in deltas) == "thinking about: hi"
    assert any("signature" in block for delta in deltas for block in delta.thinking_blocks or ())


def test_what_goes_out_is_what_the_provider_gets(
    caller: Any, provider: StandInProvider, make_call: MakeCall
) -> None:
    caller.send(make_call(provider.base_url, temperature=0.5, provider={"headers": {"X-Team": "a"}}))
    arrived = provider.requests[0]
    assert arrived.path == "/v1/chat/completions"
    assert arrived.json == {
        "messages": [{"role": "user", "content": "hello there"}],
        "temperature": 0.5,
        "model": "m",
    }
    assert arrived.headers["authorization"] == "Bearer sk-secret-1"
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["x-team"] == "a"
    assert "cookie" not in arrived.headers


def test_litellm_is_refused_naming_its_extra(sender: DirectSender, make_call: MakeCall) -> None:
    with pytest.raises(ConfigError, match=r"mesh-plugins\[litellm\]"):
        sender.send(make_call(None, "litellm"))


def test_only_a_providers_doing_is_a_provider_error(sender: DirectSender, make_call: MakeCall) -> None:
    assert sender.failure(make_call(), ValueError("a bug of ours")) is None
