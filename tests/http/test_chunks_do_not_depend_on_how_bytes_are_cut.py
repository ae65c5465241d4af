from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_plugins.core.call import CallRequest, ProviderCall
from mesh_plugins.http.wire import sse
from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_plugins.http.wire.base import Wire
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_plugins.testing.standin import anthropic, openai
from mesh_plugins.testing.standin.responses import responses
from mesh_plugins.testing.standin.script import PLAIN
from mesh_store.model.snapshot import KeyEntry, Provider, Target

ASKED = [{"role": "user", "content": "grüße an 東京 🗼 from here"}]
WEATHER = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CHAT: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "messages": ASKED,
    "stream_options": {"include_usage": True},
}
STREAMS: dict[str, tuple[str, str, Any]] = {
    "openai chat": ("openai", "chat", openai.chat(CHAT, 1, PLAIN)),
    "openai tools": (
        "openai",
        "chat",
        openai.chat(
            {**CHAT, "tools": [{"type": "function", "function": WEATHER}], "tool_choice": "required"},
            1,
            PLAIN,
        ),
    ),
    "openai responses": (
        "openai",
        "responses",
        responses({"model": "m", "stream": True, "input": "grüße 東京"}, 1, PLAIN),
    ),
    "anthropic": (
        "anthropic",
        "chat",
        anthropic.messages(
            {
                "model": "m",
                "stream": True,
                "messages": ASKED,
                "max_tokens": 99,
                "thinking": {"type": "enabled"},
            },
            1,
            PLAIN,
            set(),
        ),
    ),
}


def a_call(kind: Any, operation: Any) -> ProviderCall:
    request = CallRequest("c", operation, "fast", {}, KeyEntry(id="k", team="t"), stream=True)
    options = {"stream_options": {"include_usage": True}}
    return ProviderCall(
        request,
        Provider(id="p", name="p", kind=kind),
        Target(id="g", provider="p", model="m"),
        None,
        options,
        True,
        9.0,
        1,
    )


def read(kind: str, operation: str, pieces: list[bytes]) -> tuple[list[Any], Any]:
    wire: Wire = OpenAIWire() if kind == "openai" else AnthropicWire()
    chunks = wire.chunks(a_call(kind, operation))
    said = [chunk.to_dict() for piece in pieces for chunk in chunks.feed(piece)]
    for chunk in said:
        chunk.pop("created", None)
    assert chunks.complete
    assert chunks.failure is None
    return said, chunks.reply


@pytest.mark.parametrize("name", STREAMS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same_chunks(name: str, data: st.DataObject) -> None:
    kind, operation, events = STREAMS[name]
    whole = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=40)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(kind, operation, pieces) == read(kind, operation, [whole])


@pytest.mark.parametrize("name", STREAMS)
def test_one_byte_at_a_time_gives_the_same_chunks(name: str) -> None:
    kind, operation, events = STREAMS[name]
    whole = b"".join(events)
    assert read(kind, operation, [bytes([byte]) for byte in whole]) == read(kind, operation, [whole])


@pytest.mark.parametrize("name", STREAMS)
def test_carriage_returns_and_comments_change_nothing(name: str) -> None:
    kind, operation, events = STREAMS[name]
    whole = b"".join(events)
    dressed = b": keep-alive\n\n" + whole.replace(b"\n\n", b"\n\n: ping\n\n").replace(b"\n", b"\r\n")
    assert read(kind, operation, [dressed]) == read(kind, operation, [whole])


def test_lines_of_one_event_are_joined() -> None:
    assert sse.SseParser().feed(b"event: a\ndata: 1\ndata:2\nid: 7\n\n") == [("a", b"1\n2")]


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST", 1000)
    parser = sse.SseParser()
    with pytest.raises(ValueError, match="longer than"):
        for _ in range(100):
            parser.feed(b"data: " + b"x" * 50)


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST", 1000)
    parser = sse.SseParser()
    with pytest.raises(ValueError, match="longer than"):
        for _ in range(100):
            parser.feed(b"data: " + b"x" * 50 + b"\n")


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b"null", b'{"choices":[7]}', b'{"choices":[{"delta":7}]}']
)
def test_a_chunk_that_is_none_ends_the_stream_as_a_protocol_error(line: bytes) -> None:
    chunks = OpenAIWire().chunks(a_call("openai", "chat"))
    good = msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": "a"}}]})
    said = chunks.feed(b"data: %b\n\ndata: %b\n\ndata: %b\n\n" % (good, line, good))
    assert len(said) == 1, "what came before is kept, what comes after is not"
    assert chunks.failure is not None
    assert chunks.failure.kind == "protocol"
