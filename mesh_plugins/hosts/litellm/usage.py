"""Token counts as litellm reports them, in our canonical form.

litellm gives every provider's chat, text and embedding usage OpenAI's shape: ``prompt_tokens``
include cache reads *and* writes, Anthropic's too (``AnthropicConfig.calculate_usage`` adds them).
Responses and Anthropic's own Messages keep their wire shapes. A count that is no whole number, or
absurd, is not believed: the core then uses its own estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from mesh_store.model.usage import Usage

#: More tokens than any context window; a provider that says more is wrong.
_MOST = 100_000_000
#: What Anthropic calls the tokens it keeps in its cache for so long.
_HOUR, _MINUTES = "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"
_NONE: Mapping[str, Any] = {}
_COUNTERS = tuple(name for name in Usage.__struct_fields__ if name not in ("estimated", "service"))


class Unbelievable(ValueError):
    """A provider's usage cannot be true."""


def openai_usage(said: Any, service: Any = None) -> Usage | None:
    """Read ``prompt_tokens`` and ``completion_tokens`` with their details; None when both are zero.

    Args:
        said: litellm's usage.
        service: the reply's ``service_tier``.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    prompt, completion = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if not prompt and not completion:
        return None
    sent, generated = told(said, "prompt_tokens_details"), told(said, "completion_tokens_details")
    written = _count(sent, "cache_write_tokens") or _count(sent, "cache_creation_tokens")
    hour = _count(told(sent, "cache_creation_token_details"), _HOUR)
    return _usage(prompt, completion, sent, generated, written, hour, _service(said, service))


def responses_usage(said: Any, service: Any = None) -> Usage | None:
    """Read ``input_tokens`` and ``output_tokens`` of the Responses API, which include cached ones.

    Args:
        said: the reply's usage.
        service: the reply's ``service_tier``.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    if told(said, "input_tokens") is None:
        return openai_usage(said, service)
    sent, generated = told(said, "input_tokens_details"), told(said, "output_tokens_details")
    prompt, completion = _count(said, "input_tokens"), _count(said, "output_tokens")
    written = _count(sent, "cache_write_tokens")
    return _usage(prompt, completion, sent, generated, written, 0, _service(said, service))


def messages_usage(said: Any) -> Usage | None:
    """Read Anthropic's Messages usage, whose ``input_tokens`` leave cached ones out.

    Raises:
        Unbelievable: a count is negative, absurd, or no whole number.
    """
    if told(said, "input_tokens") is None and told(said, "output_tokens") is None:
        return None
    read, parts = _count(said, "cache_read_input_tokens"), told(said, "cache_creation")
    hour = _count(parts, _HOUR)
    written = _count(said, "cache_creation_input_tokens") or hour + _count(parts, _MINUTES)
    prompt = _count(said, "input_tokens") + read + written
    details = {"cached_tokens": read}
    return _usage(prompt, _count(said, "output_tokens"), details, None, written, hour, _service(said, None))


def larger(one: Usage | None, other: Usage | None) -> Usage | None:
    """Merge two reports of one stream: counters only grow, so each field's larger value holds."""
    if one is None or other is None:
        return one or other
    merged = {name: max(getattr(one, name), getattr(other, name)) for name in _COUNTERS}
    return Usage(**merged, service=other.service or one.service)


def _usage(
    prompt: int, completion: int, sent: Any, generated: Any, written: int, hour: int, service: str | None
) -> Usage:
    """Build usage whose parts fit into their wholes."""
    read = min(_count(sent, "cached_tokens"), prompt)
    written = min(written, prompt - read)
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(_count(generated, "reasoning_tokens"), completion),
        audio_input_tokens=min(_count(sent, "audio_tokens"), prompt),
        audio_output_tokens=min(_count(generated, "audio_tokens"), completion),
        cache_write_1h_tokens=min(hour, written),
        service=service,
        image_input_tokens=min(_count(sent, "image_tokens"), prompt),
        image_output_tokens=min(_count(generated, "image_tokens"), completion),
    )


def _service(said: Any, replied: Any) -> str | None:
    """Return the service that prices depend on, from wherever litellm keeps it."""
    if told(said, "speed") == "fast":
        return "fast"
    name = replied or told(said, "service_tier")
    return name[:64] if isinstance(name, str) and name else None


def told(said: Any, name: str) -> Any:
    """Return what one of litellm's objects says under a name, or None."""
    if said is None:
        return None
    if isinstance(said, Mapping):
        return said.get(name)
    if isinstance(said, BaseModel):  # whose own way to say that it has no such attribute is slow
        held = vars(said)
        return held[name] if name in held else (said.model_extra or _NONE).get(name)
    return getattr(said, name, None)


def _count(said: Any, name: str) -> int:
    value = told(said, name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _MOST:
        raise Unbelievable(f"{name} is {value!r}")
    return value
