"""Token counts as litellm reports them, in our canonical form.

litellm gives every provider's chat, text and embedding usage OpenAI's shape: ``prompt_tokens``
include cache reads *and* writes, Anthropic's too (``AnthropicConfig.calculate_usage`` adds them).
Responses and Anthropic's own Messages keep their wire shapes. A count that is no whole number, or
absurd, is not believed: the core then uses its own estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh_store.model.usage import Usage

#: More tokens than any context window; a provider that says more is wrong.
_MOST = 100_000_000


class Unbelievable(ValueError):
    """A provider's usage cannot be true."""


def openai_usage(said: Any) -> Usage | None:
    """Read ``prompt_tokens`` and ``completion_tokens`` with their details; None when both are zero.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    prompt, completion = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if not prompt and not completion:
        return None
    sent, generated = _get(said, "prompt_tokens_details"), _get(said, "completion_tokens_details")
    written = _count(sent, "cache_write_tokens") or _count(sent, "cache_creation_tokens")
    return _usage(
        prompt,
        completion,
        read=_count(sent, "cached_tokens"),
        written=written,
        reasoning=_count(generated, "reasoning_tokens"),
        audio_in=_count(sent, "audio_tokens"),
        audio_out=_count(generated, "audio_tokens"),
    )


def responses_usage(said: Any) -> Usage | None:
    """Read ``input_tokens`` and ``output_tokens`` of the Responses API, which include cached ones.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    if _get(said, "input_tokens") is None:
        return openai_usage(said)
    sent, generated = _get(said, "input_tokens_details"), _get(said, "output_tokens_details")
    return _usage(
        _count(said, "input_tokens"),
        _count(said, "output_tokens"),
        read=_count(sent, "cached_tokens"),
        written=_count(sent, "cache_write_tokens"),
        reasoning=_count(generated, "reasoning_tokens"),
    )


def messages_usage(said: Any) -> Usage | None:
    """Read Anthropic's Messages usage, whose ``input_tokens`` leave cached ones out.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    if _get(said, "input_tokens") is None and _get(said, "output_tokens") is None:
        return None
    read, written = _count(said, "cache_read_input_tokens"), _count(said, "cache_creation_input_tokens")
    return _usage(
        _count(said, "input_tokens") + read + written,
        _count(said, "output_tokens"),
        read=read,
        written=written,
    )


def larger(one: Usage | None, other: Usage | None) -> Usage | None:
    """Merge two reports of one stream: counters only grow, so each field's larger value holds."""
    if one is None or other is None:
        return one or other
    return Usage(*(max(getattr(one, name), getattr(other, name)) for name in Usage.__struct_fields__[:-1]))


def _usage(
    prompt: int,
    completion: int,
    *,
    read: int = 0,
    written: int = 0,
    reasoning: int = 0,
    audio_in: int = 0,
    audio_out: int = 0,
) -> Usage:
    """Build usage whose parts fit into their wholes."""
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=min(read, prompt),
        cache_write_tokens=min(written, max(0, prompt - read)),
        reasoning_tokens=min(reasoning, completion),
        audio_input_tokens=min(audio_in, prompt),
        audio_output_tokens=min(audio_out, completion),
    )


def _get(said: Any, name: str) -> Any:
    if said is None:
        return None
    return said.get(name) if isinstance(said, Mapping) else getattr(said, name, None)


def _count(said: Any, name: str) -> int:
    value = _get(said, name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _MOST:
        raise Unbelievable(f"{name} is {value!r}")
    return value
