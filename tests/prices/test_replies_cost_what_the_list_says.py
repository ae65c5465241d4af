"""Golden: a provider's reply, read by each of our readers, costs what genai-prices says of the same reply.

Whole and streamed, directly and through litellm, to the pico-dollar.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from genai_prices import extract_usage

from mesh_plugins.core.call import CallRequest, ProviderCall, ProviderReply
from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_store.model.money import pico_usd
from mesh_store.model.snapshot import KeyEntry, Target
from mesh_store.postgres.price_list import listed
from mesh_store.postgres.rates import Timeline
from tests.prices.golden import ANTHROPIC, AZURE, GOLDEN, Golden

MOMENTS = (datetime(2025, 10, 1, 12, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC))
STREAMED = [name for name, golden in GOLDEN.items() if golden.operation != "embeddings"]


@pytest.fixture(scope="module")
def litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return pytest.importorskip("litellm")


def theirs(golden: Golden, moment: datetime) -> int:
    """Return what genai-prices computes from the raw reply."""
    said = {"model": golden.model, "usage": golden.usage}
    family = "azure" if golden.provider is AZURE else golden.provider.kind
    flavor = "default" if family == "anthropic" else golden.operation
    service = golden.service or golden.usage.get("service_tier")
    context: Any = {}
    if service is not None:
        context = {"processing": "batch"} if service == "batch" else {"service_tier": service}
    found = extract_usage(said, provider_id=family, api_flavor=flavor)
    price = found.calc_price(genai_request_timestamp=moment, price_context=context)
    return pico_usd(price.total_price)


def check(golden: Golden, reply: ProviderReply) -> None:
    """Compare what was read, and what it costs at several times."""
    assert reply.flags == ()
    usage = reply.usage
    service = golden.service or golden.expected.service
    assert usage == msgspec.structs.replace(golden.expected, service=service)
    for moment in MOMENTS:
        at_us = int(moment.timestamp()) * 1_000_000
        rates = Timeline(listed(golden.provider, golden.model).changes).at(at_us)
        assert rates is not None
        assert rates.cost(usage, at_us) == theirs(golden, moment)


def call(golden: Golden, *, stream: bool = False) -> ProviderCall:
    payload: dict[str, Any] = {"messages": []}
    request = CallRequest(
        "c1", golden.operation, "fast", payload, KeyEntry(id="k1", team="t1"), stream=stream
    )
    target = Target(id="g1", provider="p1", model=golden.model)
    return ProviderCall(request, golden.provider, target, None, payload, stream, 9.0, 1)


def whole(golden: Golden) -> dict[str, Any]:
    """Return the reply as the provider sends it."""
    common = {"id": "r1", "model": golden.model, "usage": golden.usage}
    if golden.provider is ANTHROPIC:
        return common | {
            "type": "message",
            "content": [{"type": "text", "text": "hello"}],
            "stop_reason": "end_turn",
        }
    tier = {} if golden.service is None else {"service_tier": golden.service}
    if golden.operation == "embeddings":
        return common | {"data": [{"index": 0, "embedding": [0.5], "object": "embedding"}], "object": "list"}
    if golden.operation == "responses":
        part = {"type": "output_text", "text": "hello", "annotations": []}
        message = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
        return common | tier | {"status": "completed", "output": [message], "object": "response"}
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    return common | tier | {"choices": [choice], "object": "chat.completion"}


def events(golden: Golden) -> Iterator[dict[str, Any]]:
    """Yield what the provider streams of the same reply."""
    if golden.provider is ANTHROPIC:
        # The beginning has the input and a placeholder, the end counts the output from the start again.
        begun = golden.usage | {"output_tokens": 1}
        said = {"type": "text_delta", "text": "hello"}
        yield {"type": "message_start", "message": {"id": "r1", "model": golden.model, "usage": begun}}
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield {"type": "content_block_delta", "index": 0, "delta": said}
        counted = {"output_tokens": golden.usage["output_tokens"]}
        halfway = {"output_tokens": 7, "cache_read_input_tokens": None}
        yield {"type": "message_delta", "delta": {"stop_reason": None}, "usage": halfway}
        yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counted}
        yield {"type": "message_stop"}
    elif golden.operation == "responses":
        yield {"type": "response.created", "response": whole(golden) | {"usage": None, "output": []}}
        yield {"type": "response.output_text.delta", "delta": "hello"}
        yield {"type": "response.completed", "response": whole(golden)}
    else:
        tier = {} if golden.service is None else {"service_tier": golden.service}
        head = {"id": "r1", "model": golden.model, "object": "chat.completion.chunk", "usage": None} | tier
        yield head | {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]}
        yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield head | {"choices": [], "usage": golden.usage}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_whole_reply(name: str) -> None:
    golden = GOLDEN[name]
    wire = AnthropicWire() if golden.provider is ANTHROPIC else OpenAIWire()
    check(golden, wire.reply(call(golden), msgspec.json.encode(whole(golden))))


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream(name: str) -> None:
    golden = GOLDEN[name]
    wire = AnthropicWire() if golden.provider is ANTHROPIC else OpenAIWire()
    chunks = wire.chunks(call(golden, stream=True))
    for event in events(golden):
        chunks.feed(b"data: %b\n\n" % msgspec.json.encode(event))
    assert chunks.complete
    check(golden, chunks.reply)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.filterwarnings("ignore")
def test_a_whole_reply_through_litellm(name: str, litellm: Any) -> None:
    from mesh_plugins.hosts.litellm.reading import ChatReader, ResponsesReader

    golden = GOLDEN[name]
    if golden.operation == "responses":
        body = litellm.ResponsesAPIResponse(created_at=1, **whole(golden))
        check(golden, ResponsesReader().whole(body))
    elif golden.operation == "embeddings":
        check(golden, ChatReader().whole(litellm.EmbeddingResponse(**whole(golden))))
    elif golden.provider is ANTHROPIC:
        usage = litellm.AnthropicConfig().calculate_usage(golden.usage, None)
        body = SimpleNamespace(id="r1", model=golden.model, choices=(), usage=usage)
        check(golden, ChatReader().whole(body))
    else:
        check(golden, ChatReader().whole(litellm.ModelResponse(**whole(golden))))


@pytest.mark.parametrize("name", [name for name in GOLDEN if "anthropic" in name])
def test_anthropics_own_format_through_litellm(name: str, litellm: Any) -> None:
    from mesh_plugins.hosts.litellm.reading import MessagesReader

    golden = GOLDEN[name]
    check(golden, MessagesReader().whole(whole(golden)))
    reader = MessagesReader()
    for event in events(golden):
        reader.chunk(b"data: %b\n\n" % msgspec.json.encode(event))
    check(golden, reader.reply)


@pytest.mark.parametrize("name", [name for name in STREAMED if "chat" in name])
@pytest.mark.filterwarnings("ignore")
def test_a_stream_through_litellm(name: str, litellm: Any) -> None:
    from mesh_plugins.hosts.litellm.reading import ChatReader

    golden, reader = GOLDEN[name], ChatReader()
    for event in events(golden):
        reader.chunk(litellm.ModelResponseStream(**event))
    check(golden, reader.reply)


@pytest.mark.parametrize("name", ["anthropic, cached", "anthropic, for an hour"])
def test_anthropic_through_langchain(name: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.messages import AIMessage

    from mesh_plugins.hosts.langchain.usage import message_usage

    golden = GOLDEN[name]
    parts = golden.usage["cache_creation"]
    # As langchain-anthropic says it: what was written is in the parts alone.
    details = {"cache_read": 2_000, "cache_creation": 0, **parts}
    said: Any = {"input_tokens": 3_100, "output_tokens": 50, "total_tokens": 3_150}
    message = AIMessage("hello", usage_metadata=said | {"input_token_details": details})
    message.response_metadata = {"service_tier": "standard"}
    usage, flags = message_usage(message)
    check(golden, ProviderReply(None, usage, flags=flags))


@pytest.mark.parametrize("service", [None, "flex"])
def test_openai_through_langchain(service: str | None) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.messages import AIMessage

    from mesh_plugins.hosts.langchain.usage import message_usage

    prefix = f"{service}_" if service else ""
    said: Any = {"input_tokens": 12_345, "output_tokens": 678, "total_tokens": 13_023}
    details = {
        "input_token_details": {f"{prefix}cache_read": 8_192},
        "output_token_details": {f"{prefix}reasoning": 300},
    }
    message = AIMessage("hello", usage_metadata=said | details)
    message.response_metadata = {} if service is None else {"service_tier": service}
    usage, flags = message_usage(message)
    name = "openai chat" if service is None else f"openai chat, {service}"
    check(GOLDEN[name], ProviderReply(None, usage, flags=flags))
