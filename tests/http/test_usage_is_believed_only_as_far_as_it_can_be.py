from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
