from __future__ import annotations

from typing import Any

import pytest

from mesh_plugins.hosts.litellm.usage import (
    Unbelievable,
    larger,
    messages_usage,
    openai_usage,
    responses_usage,
)
from mesh_store.model.usage import Usage


def test_litellms_prompt_tokens_include_what_came_from_a_cache() -> None:
    said = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 30, "audio_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 3},
    }

    assert openai_usage(said) == Usage(100, 50, 60, 30, 20, 5, 3)


def test_anthropics_own_count_leaves_them_out() -> None:
    said = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
    }

    assert messages_usage(said) == Usage(100, 5, 60, 30)


def test_the_responses_format_counts_like_openai() -> None:
    said = {
        "input_tokens": 100,
        "output_tokens": 50,
        "input_tokens_details": {"cached_tokens": 60},
        "output_tokens_details": {"reasoning_tokens": 20},
    }

    assert responses_usage(said) == Usage(100, 50, 60, 0, 20)
    assert responses_usage({"prompt_tokens": 1, "completion_tokens": 2}) == Usage(1, 2)


def test_litellm_adds_anthropics_cached_tokens_before_we_see_them(litellm: Any) -> None:
    usage = litellm.AnthropicConfig().calculate_usage(
        usage_object={
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
        },
        reasoning_content=None,
    )

    assert openai_usage(usage) == Usage(100, 5, 60, 30)


@pytest.mark.parametrize("wrong", [-1, 1.5, "7", True, 10**10])
def test_a_count_that_cannot_be_true_is_not_believed(wrong: Any) -> None:
    with pytest.raises(Unbelievable):
        openai_usage({"prompt_tokens": wrong, "completion_tokens": 1})
    with pytest.raises(Unbelievable):
        messages_usage({"input_tokens": 1, "output_tokens": wrong})
    with pytest.raises(Unbelievable):
        responses_usage({"input_tokens": wrong, "output_tokens": 1})


def test_nothing_said_is_no_usage() -> None:
    assert openai_usage(None) is None
    assert openai_usage({"prompt_tokens": 0, "completion_tokens": 0}) is None
    assert messages_usage({}) is None
    assert responses_usage(None) is None


def test_the_larger_of_two_reports_holds() -> None:
    assert larger(Usage(10, 1), Usage(0, 7, 4)) == Usage(10, 7, 4)
    assert larger(None, Usage(1, 2)) == Usage(1, 2)
    assert larger(None, None) is None
    first, last = Usage(10, 1, service="auto"), Usage(10, 7, service="flex")
    assert larger(first, last) == last
    assert larger(first, Usage(10, 7)) == Usage(10, 7, service="auto")
