from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mesh_plugins.core.call import ProviderCall
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_store.model.errors import ConfigError, ProviderError
from mesh_store.model.usage import Usage

MakeCall = Callable[..., ProviderCall]
WIRE = OpenAIWire()


def test_a_chat_goes_to_openai_when_no_base_url_is_set(make_call: MakeCall) -> None:
    request = WIRE.request(make_call(temperature=0.5, seed=7))
    assert request.url == "https://api.openai.com/v1/chat/completions"
    assert request.headers == {
        "content-type": "application/json",
        "accept": "*/*",
        "authorization": "Bearer sk-secret-1",
    }
    assert msgspec.json.decode(request.body) == {
        "messages": [{"role": "user", "content": "hello there"}],
        "temperature": 0.5,
        "seed": 7,
        "model": "m",
    }
    assert request.idle_s is None


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("chat", "/chat/completions"),
        ("text_completion", "/completions"),
        ("embeddings", "/embeddings"),
        ("responses", "/responses"),
    ],
)
def test_every_operation_has_its_path(make_call: MakeCall, operation: str, path: str) -> None:
    assert WIRE.request(make_call("http://h/v1/", operation=operation)).url == "http://h/v1" + path


def test_an_operation_it_has_not_is_refused_by_name(make_call: MakeCall) -> None:
    with pytest.raises(ConfigError, match="'images'"):
        WIRE.request(make_call(operation="images"))


def test_the_providers_headers_and_query_go_along(make_call: MakeCall) -> None:
    call = make_call("http://h", provider={"headers": {"X-Org": "a"}, "query": {"q": "a b"}})
    request = WIRE.request(call)
    assert request.url == "http://h/chat/completions?q=a+b"
    assert request.headers["x-org"] == "a"


def test_no_secret_means_no_authorization(make_call: MakeCall) -> None:
    assert "authorization" not in WIRE.request(make_call("http://h", secret=None)).headers


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://n.openai.azure.com/openai/v1/chat/completions"),
        (
            {"api_version": "2024-10-21"},
            "https://n.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_azure_has_its_own_addresses_and_header(
    make_call: MakeCall, options: dict[str, Any], url: str
) -> None:
    provider = {"options": {"azure": True, **options}}
    request = WIRE.request(make_call("https://n.openai.azure.com/", provider=provider))
    assert request.url == url
    assert request.headers["api-key"] == "sk-secret-1"
    assert "authorization" not in request.headers


def test_azure_takes_a_token_too(make_call: MakeCall) -> None:
    call = make_call("https://n/", secret={"token": "eyJ0"}, provider={"options": {"azure": True}})
    assert WIRE.request(call).headers["authorization"] == "Bearer eyJ0"


def test_azure_without_base_url_says_what_is_missing(make_call: MakeCall) -> None:
    with pytest.raises(ConfigError, match="needs base_url"):
        WIRE.request(make_call(provider={"options": {"azure": True}}))


def test_a_stream_always_asks_for_usage_and_never_changes_the_payload(make_call: MakeCall) -> None:
    call = make_call("http://h", stream=True, stream_options={"other": 1})
    before = dict(call.payload)
    body = msgspec.json.decode(WIRE.request(call).body)
    assert body["stream"] is True
    assert body["stream_options"] == {"other": 1, "include_usage": True}
    assert call.payload == before
    assert WIRE.request(call).idle_s == 120


def test_a_provider_that_knows_no_stream_options_is_sent_none(make_call: MakeCall) -> None:
    options = {"stream_usage": False, "idle_timeout_s": 5}
    request = WIRE.request(make_call("http://h", stream=True, provider={"options": options}))
    assert "stream_options" not in msgspec.json.decode(request.body)
    assert request.idle_s == 5


def test_a_caller_cannot_switch_streaming_on_by_parameter(make_call: MakeCall) -> None:
    call = make_call("http://h")
    call.payload["stream"] = True
    assert "stream" not in msgspec.json.decode(WIRE.request(call).body)


@pytest.mark.parametrize("secret", ["sk-abc\n", "sk-\r\nx-evil: 1", "sk-ü"])
def test_a_secret_no_header_may_hold_is_refused_without_being_shown(make_call: MakeCall, secret: str) -> None:
    with pytest.raises(ConfigError, match="authorization") as refused:
        WIRE.request(make_call("http://h", secret=secret))
    assert secret.strip() not in str(refused.value)


def test_a_parameter_without_json_form_is_named(make_call: MakeCall) -> None:
    with pytest.raises(ConfigError, match="'tools'"):
        WIRE.request(make_call("http://h", tools=[object()]))


def test_a_new_secret_and_a_changed_provider_are_used_at_once(make_call: MakeCall) -> None:
    first = make_call("http://h")
    assert WIRE.request(first).headers["authorization"] == "Bearer sk-secret-1"
    first.secret = "sk-secret-2"
    assert WIRE.request(first).headers["authorization"] == "Bearer sk-secret-2"
    assert WIRE.request(make_call("http://other")).url == "http://other/chat/completions"


def reply_of(call: ProviderCall, **body: Any) -> Any:
    return WIRE.reply(call, msgspec.json.encode(body))


def test_a_reply_is_read(make_call: MakeCall) -> None:
    choice = {"message": {"content": "four", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}
    reply = reply_of(
        make_call(),
        id="i",
        model="m-1",
        choices=[{**choice, "finish_reason": "tool_calls"}],
        usage={"prompt_tokens": 1, "completion_tokens": 2},
    )
    assert (reply.response_id, reply.response_model, reply.finish_reason) == ("i", "m-1", "tool_calls")
    assert reply.usage == Usage(1, 2)
    assert reply.output_chars == 7
    assert reply.body.choices[0].message.content == "four"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":7}',
        b'{"choices":[7]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_reply_is_a_protocol_error(make_call: MakeCall, body: bytes) -> None:
    with pytest.raises(ProviderError) as failed:
        WIRE.reply(make_call(), body)
    assert failed.value.kind == "protocol"
    assert failed.value.provider == "local"


def test_an_error_inside_a_success_is_an_error(make_call: MakeCall) -> None:
    with pytest.raises(ProviderError, match="no room") as failed:
        reply_of(make_call(), error={"message": "no room", "code": 429})
    assert (failed.value.kind, failed.value.status) == ("status", 429)


@pytest.mark.parametrize("word", [7, ["stop"], {"a": 1}, None])
def test_words_that_are_no_text_are_not_passed_on(make_call: MakeCall, word: Any) -> None:
    reply = reply_of(make_call(), id=word, model=word, choices=[{"message": {}, "finish_reason": word}])
    assert (reply.response_id, reply.response_model, reply.finish_reason) == (None, None, None)
