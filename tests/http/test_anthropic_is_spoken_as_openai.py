from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.usage import Usage

MakeCall = Callable[..., ProviderCall]
WIRE = AnthropicWire()
EPHEMERAL = {"type": "ephemeral"}


def sent(call: ProviderCall) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(WIRE.request(call).body)
    return body


@pytest.fixture
def body_of(make_call: MakeCall) -> Callable[..., dict[str, Any]]:
    return lambda **more: sent(make_call(None, "anthropic", **more))


def test_a_request_goes_to_anthropic_with_its_own_headers(make_call: MakeCall) -> None:
    request = WIRE.request(make_call(None, "anthropic", max_tokens=9))
    assert request.url == "https://api.anthropic.com/v1/messages"
    assert request.headers["x-api-key"] == "sk-secret-1"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert msgspec.json.decode(request.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello there"}],
        "max_tokens": 9,
    }


@pytest.mark.parametrize("base_url", ["http://h", "http://h/", "http://h/v1"])
def test_a_base_url_may_end_in_v1_or_not(make_call: MakeCall, base_url: str) -> None:
    assert WIRE.request(make_call(base_url, "anthropic")).url == "http://h/v1/messages"


def test_a_federated_token_is_a_bearer(make_call: MakeCall) -> None:
    headers = WIRE.request(make_call(None, "anthropic", secret={"token": "t"})).headers
    assert headers["authorization"] == "Bearer t"
    assert "x-api-key" not in headers


def test_a_cap_is_always_sent(body_of: Any) -> None:
    assert body_of()["max_tokens"] == 4096
    assert body_of(target={"max_output_tokens": 77})["max_tokens"] == 77
    assert body_of(max_completion_tokens=5)["max_tokens"] == 5


def test_system_messages_leave_the_conversation(body_of: Any) -> None:
    body = body_of(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
            {
                "role": "developer",
                "content": [{"type": "text", "text": "cache me", "cache_control": EPHEMERAL}],
            },
        ]
    )
    assert body["system"] == [
        {"type": "text", "text": "be brief"},
        {"type": "text", "text": "cache me", "cache_control": EPHEMERAL},
    ]
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (
        body_of(messages=[{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])["system"]
        == "a"
    )


def test_a_tools_whole_way_is_translated(body_of: Any) -> None:
    body = body_of(
        messages=[
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": "",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "get", "arguments": '{"city":"Oslo"}'},
                    },
                    {"id": "b", "type": "function", "function": {"name": "get", "arguments": "not json"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "rain"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "thanks"},
        ],
        tools=[
            {
                "type": "function",
                "function": {"name": "get", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert body["tools"] == [{"name": "get", "description": "d", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["messages"] == [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "a", "name": "get", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "b", "name": "get", "input": {"arguments": "not json"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "sun"}]},
                {"type": "text", "text": "thanks"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choices_are_translated(body_of: Any, choice: Any, expected: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert body_of(tools=tools, tool_choice=choice)["tool_choice"] == expected


def test_images_and_files_become_sources(body_of: Any) -> None:
    content = [
        {"type": "text", "text": "look"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/jpeg;base64,AAAA"},
            "cache_control": EPHEMERAL,
        },
        {"type": "image_url", "image_url": {"url": "https://h/cat.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,BBBB"}},
    ]
    assert body_of(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == [
        {"type": "text", "text": "look"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
            "cache_control": EPHEMERAL,
        },
        {"type": "image", "source": {"type": "url", "url": "https://h/cat.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
    ]


def test_parameters_are_translated_or_passed_on(body_of: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = body_of(
        stop="END",
        user="u1",
        top_k=5,
        temperature=0.1,
        reasoning_effort="medium",
        max_tokens=9000,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        n=1,
        frequency_penalty=0,
    )
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u1"}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert (body["top_k"], body["temperature"]) == (5, 0.1)
    assert "n" not in body
    assert "frequency_penalty" not in body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("seed", 7),
        ("logit_bias", {"1": 2}),
        ("frequency_penalty", 0.5),
        ("response_format", {"type": "json_object"}),
        ("metadata", {"a": "b"}),
    ],
)
def test_what_anthropic_lacks_is_refused_by_name_or_dropped(body_of: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        body_of(**{name: value})
    assert name not in body_of(**{name: value}, drop_params=True)
    assert name not in body_of(**{name: value}, provider={"options": {"drop_params": True}})


def test_an_operation_it_has_not_is_refused_by_name(make_call: MakeCall) -> None:
    with pytest.raises(ConfigError, match="'embeddings'"):
        WIRE.request(make_call(None, "anthropic", operation="embeddings", input="a"))


def reply_of(call: ProviderCall, **body: Any) -> Any:
    return WIRE.reply(call, msgspec.json.encode(body))


def test_a_reply_is_openais(make_call: MakeCall) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    reply = reply_of(
        make_call(None, "anthropic"),
        id="msg_1",
        model="claude",
        stop_reason="tool_use",
        content=[
            thought,
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b"},
            {"type": "tool_use", "id": "t", "name": "get", "input": {"x": 1}},
        ],
        usage={"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 10},
    )
    message = reply.body.choices[0].message
    assert message.content == "ab"
    assert message.reasoning_content == "hm"
    assert message.thinking_blocks == [thought]
    assert message.tool_calls[0].function.arguments == '{"x":1}'
    assert reply.body.choices[0].finish_reason == reply.finish_reason == "tool_calls"
    assert reply.usage == Usage(13, 4, cache_read_tokens=10)
    assert reply.body.usage.prompt_tokens == 13
    assert reply.body.usage.prompt_tokens_details.cached_tokens == 10
    assert (reply.response_id, reply.response_model) == ("msg_1", "claude")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_stop_reasons_are_translated(make_call: MakeCall, theirs: str, ours: str) -> None:
    assert reply_of(make_call(), content=[], stop_reason=theirs).finish_reason == ours


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"content":7}', b'{"content":[7]}', b'{"content":[{}]}']
)
def test_what_is_no_reply_is_a_protocol_error(make_call: MakeCall, body: bytes) -> None:
    with pytest.raises(ProviderError) as failed:
        WIRE.reply(make_call(None, "anthropic"), body)
    assert failed.value.kind == "protocol"


def test_an_overload_in_the_middle_is_its_status(make_call: MakeCall) -> None:
    chunks = WIRE.chunks(make_call(None, "anthropic", stream=True))
    chunks.feed(
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    )
    assert chunks.failure is not None
    assert (chunks.failure.status, chunks.failure.kind) == (529, "status")


def test_counts_at_a_streams_beginning_are_not_its_usage(make_call: MakeCall) -> None:
    chunks = WIRE.chunks(make_call(None, "anthropic", stream=True))
    start = {
        "type": "message_start",
        "message": {"id": "i", "usage": {"input_tokens": 9, "output_tokens": 1}},
    }
    chunks.feed(b"data: %b\n\n" % msgspec.json.encode(start))
    assert chunks.reply.usage is None, "an abandoned stream would be billed one token of output"
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 40}}
    chunks.feed(b"data: %b\n\n" % msgspec.json.encode(end))
    assert chunks.reply.usage == Usage(9, 40)
