"""Whatever bytes come from Redis, a provider or a file: they are read, or refused in our own words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_store.admin.manifest.reading import read
from mesh_store.model import document, keys, signing
from mesh_store.model.errors import ConfigError, InvalidKey, MeshError
from mesh_store.redis import config_channel
from mesh_store.sync.delta import decode_delta
from tests.core.conftest import document as some_document
from tests.faults.hostile import encoded, twisted
from tests.http.test_chunks_do_not_depend_on_how_bytes_are_cut import STREAMS, a_call

#: Examples by default, and under ``full``.
COUNTS = [120, pytest.param(5_000, marks=pytest.mark.full)]

SEALED = signing.seal("snapshot", signing.Place("e", 7), document.encode(some_document()))
WHOLE = document.encode(some_document())
MANIFEST: dict[str, Any] = {
    "version": 1,
    "users": [{"name": "ada@example.com"}],
    "teams": [
        {"name": "research", "members": ["ada@example.com"], "limits": ["600 requests/min", "$50/day"]}
    ],
    "providers": [
        {"name": "local", "kind": "openai", "base_url": "http://127.0.0.1:8080/v1"},
        {"name": "claude", "kind": "anthropic", "secret": "env:ANTHROPIC_API_KEY"},
    ],
    "aliases": [
        {
            "name": "fast",
            "grants": ["research"],
            "targets": [{"provider": "local", "model": "small", "weight": 9, "tier": 2}],
        }
    ],
    "limits": [{"team": "research", "alias": "fast", "limit": "60 requests/min"}],
}


def altered(data: st.DataObject, whole: bytes) -> bytes:
    """Return the bytes with some of them changed, left out or put in."""
    pieces = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(pieces) - 1)))
        pieces[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    return bytes(pieces)


@pytest.mark.parametrize("examples", COUNTS)
def test_published_configuration(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        for whole, reading in (
            (SEALED, lambda body: signing.unseal("snapshot", body)),
            (SEALED, signing.unseal_place),
            (WHOLE, document.decode),
            (WHOLE, decode_delta),
        ):
            try:
                reading(altered(data, whole))
            except ConfigError:
                continue
        config_channel.parse_news(altered(data, b"snapshot e 7\n" + SEALED))
        config_channel.parse_handovers(altered(data, SEALED))

    law()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("examples", COUNTS)
def test_a_providers_stream(name: str, examples: int) -> None:
    kind, operation, events = STREAMS[name]

    @settings(max_examples=examples, deadline=None)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        wire: Any = OpenAIWire() if kind == "openai" else AnthropicWire()
        chunks = wire.chunks(a_call(kind, operation))
        try:
            for _ in chunks.feed(altered(data, b"".join(events))):
                assert isinstance(chunks.complete, bool)
        except (MeshError, ValueError):  # a line beyond all bounds is told by ValueError to the stream
            return
        usage = chunks.reply.usage
        if usage is not None:
            assert 0 <= usage.input_tokens < 2**53
            assert 0 <= usage.output_tokens < 2**53

    law()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@given(body=st.binary(max_size=60))
@example(body=b'{"choices":"\xa0"}')
@settings(deadline=None)
def test_a_providers_reply(kind: str, body: bytes) -> None:
    wire: Any = OpenAIWire() if kind == "openai" else AnthropicWire()
    with pytest.raises(MeshError):
        wire.reply(a_call(kind, "chat"), body)


@given(text=st.text(max_size=80))
@settings(deadline=None)
def test_a_manifest(text: str) -> None:
    try:
        read(text, "mesh.yaml")
    except MeshError:
        return


@pytest.mark.parametrize("examples", COUNTS)
def test_a_manifest_with_anything_in_the_place_of_something(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(data=st.data())
    def law(data: st.DataObject) -> None:
        try:
            read(encoded(twisted(data, MANIFEST)).decode(), "mesh.yaml")  # JSON is YAML
        except MeshError:
            return

    law()


@pytest.mark.parametrize("examples", COUNTS)
def test_any_text_as_a_key(examples: int) -> None:
    words = st.text(st.characters(codec=None), max_size=70)
    like = st.builds("mk_{}_{}".format, st.text("aZ09", max_size=9), st.text("aZ09", max_size=50))

    @settings(max_examples=examples, deadline=None)
    @given(words | words.map("mk_{}".format) | like)
    def law(text: str) -> None:
        with pytest.raises(InvalidKey):
            keys.parse(text)

    law()


@given(data=st.data())
def test_a_key_with_any_other_character_is_none(data: st.DataObject) -> None:
    text = keys.mint("abcdefgh").text
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[at]))
    with pytest.raises(InvalidKey):
        keys.parse(text[:at] + other + text[at + 1 :])
