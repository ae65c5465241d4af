from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.http.wire.anthropic import AnthropicWire
from mesh_plugins.http.wire.openai import OpenAIWire
from mesh_plugins.http.wire.usage import ABSURD, anthropic_usage, openai_usage
from mesh_store.model.usage import Usage

SANE = st.integers(0, 10_000_000)
LIES = st.one_of(
    st.integers(max_value=-1),
    st.integers(min_value=ABSURD + 1),
    st.text(),
    st.booleans(),
    st.floats(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)


@given(SANE, SANE)
def test_the_truth_is_believed(sent: int, said: int) -> None:
    raw = {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}
    assert openai_usage(raw) == (Usage(sent, said), ())
    assert openai_usage({"input_tokens": sent, "output_tokens": said}) == (Usage(sent, said), ())


@given(LIES, st.sampled_from(["prompt_tokens", "completion_tokens"]))
def test_an_openai_lie_is_flagged_and_dropped(lie: Any, where: str) -> None:
    raw = {"prompt_tokens": 5, "completion_tokens": 5, where: lie}
    assert openai_usage(raw) == (None, ("usage_suspect",))


@given(
    LIES,
    st.sampled_from(
        ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
    ),
)
def test_an_anthropic_lie_is_flagged_and_dropped(lie: Any, where: str) -> None:
    raw = {"input_tokens": 5, "output_tokens": 5, where: lie}
    assert anthropic_usage(raw) == (None, ("usage_suspect",))


@given(st.one_of(LIES, st.just(7)).filter(lambda raw: not isinstance(raw, dict)))
def test_what_is_no_object_is_flagged(raw: Any) -> None:
    assert openai_usage(raw) == (None, ("usage_suspect",))
    assert anthropic_usage(raw) == (None, ("usage_suspect",))


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens_details": {"cached_tokens": 6, "cache_creation_tokens": 6}},
        {"prompt_tokens_details": {"audio_tokens": 11}},
        {"completion_tokens_details": {"reasoning_tokens": 11}},
        {"completion_tokens_details": {"audio_tokens": 11}},
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens_details": [1]},
        {"prompt_tokens_details": "many"},
    ],
)
def test_a_part_larger_than_its_whole_is_flagged(details: dict[str, Any]) -> None:
    assert openai_usage({"prompt_tokens": 10, "completion_tokens": 10, **details}) == (
        None,
        ("usage_suspect",),
    )


def test_nothing_said_is_nothing_known_and_no_lie() -> None:
    assert openai_usage(None) == (None, ())
    assert anthropic_usage(None) == (None, ())


def test_text_without_tokens_is_a_lie() -> None:
    assert openai_usage({"prompt_tokens": 0, "completion_tokens": 0}, output_chars=20) == (
        None,
        ("usage_suspect",),
    )
    assert anthropic_usage({"input_tokens": 3, "output_tokens": 0}, output_chars=20) == (
        None,
        ("usage_suspect",),
    )


def test_openai_details_are_parts_of_the_whole() -> None:
    raw = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 2},
    }
    assert openai_usage(raw)[0] == Usage(
        100, 50, cache_read_tokens=40, reasoning_tokens=30, audio_input_tokens=5, audio_output_tokens=2
    )


def test_reasoning_that_only_the_total_counts_is_output() -> None:
    raw = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 45,
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    assert openai_usage(raw)[0] == Usage(10, 35, reasoning_tokens=30)


def test_anthropic_input_gains_its_cached_parts() -> None:
    raw = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
    }
    assert anthropic_usage(raw)[0] == Usage(160, 5, cache_read_tokens=100, cache_write_tokens=50)


@pytest.mark.parametrize(
    "creation",
    [
        {"ephemeral_1h_input_tokens": 51},
        {"ephemeral_1h_input_tokens": -1},
        {"ephemeral_5m_input_tokens": "many"},
        [1],
        "many",
    ],
)
def test_what_was_kept_for_an_hour_is_a_part_of_what_was_written(creation: Any) -> None:
    raw = {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 50}
    assert anthropic_usage(raw | {"cache_creation": creation}) == (None, ("usage_suspect",))


def test_parts_of_a_cache_write_without_their_sum_are_the_sum() -> None:
    parts = {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 30}
    raw = {"input_tokens": 10, "output_tokens": 5, "cache_creation": parts}
    assert anthropic_usage(raw)[0] == Usage(60, 5, cache_write_tokens=50, cache_write_1h_tokens=20)


@pytest.mark.parametrize("service", [7, "", ["flex"], {"a": 1}, True])
def test_a_service_that_is_no_name_is_none(service: Any) -> None:
    assert openai_usage({"prompt_tokens": 1, "completion_tokens": 1}, 0, service)[0] == Usage(1, 1)
    raw = {"input_tokens": 1, "output_tokens": 1, "service_tier": service, "speed": service}
    assert anthropic_usage(raw)[0] == Usage(1, 1)


def _chunk(usage: Any = None, content: str | None = None, reason: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]
    said = {"choices": choices if content or reason else [], "usage": usage}
    return b"data: %b\n\n" % msgspec.json.encode(said)


TRUE, ZERO = {"prompt_tokens": 10, "completion_tokens": 5}, {"prompt_tokens": 10, "completion_tokens": 0}


@pytest.mark.parametrize(
    ("said", "believed", "flags"),
    [
        ([TRUE], Usage(10, 5), ()),
        ([TRUE, TRUE], Usage(10, 5), ()),
        ([ZERO, TRUE], Usage(10, 5), ()),
        ([{"prompt_tokens": "10", "completion_tokens": 5}, TRUE], Usage(10, 5), ()),
        ([], None, ()),
        ([TRUE, {"prompt_tokens": -1, "completion_tokens": 5}], None, ("usage_suspect",)),
        ([{"prompt_tokens": 10, "completion_tokens": 5e9}], None, ("usage_suspect",)),
        (["five"], None, ("usage_suspect",)),
    ],
    ids=["last chunk", "twice", "growing", "mended", "missing", "negative", "absurd", "words"],
)
def test_a_streams_last_word_on_its_usage_holds(make_call: Any, said: Any, believed: Any, flags: Any) -> None:
    chunks = OpenAIWire().chunks(make_call(stream=True))
    chunks.feed(_chunk(content="hello") + _chunk(reason="stop"))
    for usage in said:
        chunks.feed(_chunk(usage))
    chunks.feed(b"data: [DONE]\n\n")
    assert (chunks.reply.usage, chunks.reply.flags, chunks.failure) == (believed, flags, None)


def test_a_stream_given_up_keeps_what_its_beginning_said_of_the_input(make_call: Any) -> None:
    chunks = AnthropicWire().chunks(make_call(None, "anthropic", stream=True))
    counts = {"input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 9_000}
    start = {"type": "message_start", "message": {"id": "i", "usage": counts}}
    chunks.feed(b"data: %b\n\n" % msgspec.json.encode(start))
    assert chunks.reply.usage is None
    assert chunks.reply.begun == Usage(9_003, 1, cache_write_tokens=9_000)
