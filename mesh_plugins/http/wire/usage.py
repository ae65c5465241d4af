"""The provider's token counts, normalised, and believed only as far as they can be.

A count that is negative, absurd, a string or a part larger than its whole makes the whole usage
unbelievable: the caller of these gets None and the flag, and the core puts its own estimate there.
"""

from __future__ import annotations

from typing import Any

from mesh_store.model.usage import Usage

#: Beyond this a count is a lie; the largest context window on sale is a hundredth of it.
ABSURD = 1_000_000_000
SUSPECT = ("usage_suspect",)


def openai_usage(
    raw: Any, output_chars: int = 0, service: Any = None
) -> tuple[Usage | None, tuple[str, ...]]:
    """Read ``usage`` of chat, completions, embeddings (``prompt_tokens``) or responses (``input_tokens``).

    Args:
        raw: what the provider sent; None when it sent nothing.
        output_chars: characters that were generated: then counts of zero are a lie.
        service: the reply's ``service_tier``.
    """
    if raw is None:
        return None, ()
    try:
        if "prompt_tokens" in raw:
            ins, outs = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
            sent, said = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
        else:
            ins, outs = raw.get("input_tokens_details"), raw.get("output_tokens_details")
            sent, said = _count(raw, "input_tokens"), _count(raw, "output_tokens")
        usage = Usage(sent, said, service=_name(service))
        if ins or outs:
            usage = _detailed(usage, raw, ins or {}, outs or {})
    except (AttributeError, TypeError, ValueError):
        return None, SUSPECT
    return _plausible(usage, output_chars)


def anthropic_usage(raw: Any, output_chars: int = 0) -> tuple[Usage | None, tuple[str, ...]]:
    """Read Anthropic's ``usage``, whose ``input_tokens`` leave the cached parts out.

    Args:
        raw: what the provider sent; None when it sent nothing.
        output_chars: characters that were generated: then counts of zero are a lie.
    """
    if raw is None:
        return None, ()
    try:
        read = _count(raw, "cache_read_input_tokens")
        write, hour = _written(raw)
        usage = Usage(
            input_tokens=_count(raw, "input_tokens") + read + write,
            output_tokens=_count(raw, "output_tokens"),
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=hour,
            service="fast" if raw.get("speed") == "fast" else _name(raw.get("service_tier")),
        )
    except (AttributeError, TypeError, ValueError):
        return None, SUSPECT
    return _plausible(usage, output_chars)


def _written(raw: dict[str, Any]) -> tuple[int, int]:
    """Return the tokens written to a cache, and how many of them are kept for an hour."""
    parts = raw.get("cache_creation") or {}
    hour, minutes = _count(parts, "ephemeral_1h_input_tokens"), _count(parts, "ephemeral_5m_input_tokens")
    whole = _count(raw, "cache_creation_input_tokens") or hour + minutes
    if hour > whole:
        raise ValueError("a part is larger than its whole")
    return whole, hour


def _detailed(whole: Usage, raw: dict[str, Any], ins: dict[str, Any], outs: dict[str, Any]) -> Usage:
    sent, said = whole.input_tokens, whole.output_tokens
    reasoning = _count(outs, "reasoning_tokens")
    if reasoning and _count(raw, "total_tokens") == sent + said + reasoning:
        said += reasoning  # some count reasoning beside the output, and only the total tells
    usage = Usage(
        input_tokens=sent,
        output_tokens=said,
        cache_read_tokens=_count(ins, "cached_tokens"),
        cache_write_tokens=_count(ins, "cache_creation_tokens") or _count(ins, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        audio_input_tokens=_count(ins, "audio_tokens"),
        audio_output_tokens=_count(outs, "audio_tokens"),
        service=whole.service,
        image_input_tokens=_count(ins, "image_tokens"),
        image_output_tokens=_count(outs, "image_tokens"),
    )
    if (
        usage.cache_read_tokens + usage.cache_write_tokens > sent
        or max(usage.audio_input_tokens, usage.image_input_tokens) > sent
        or max(reasoning, usage.audio_output_tokens, usage.image_output_tokens) > said
    ):
        raise ValueError("a part is larger than its whole")
    return usage


def _count(raw: dict[str, Any], name: str) -> int:
    value = raw.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= ABSURD:
        raise ValueError(name)
    return value


def _name(service: Any) -> str | None:
    """Return the name of a service when it is one."""
    return service[:64] if isinstance(service, str) and service else None


def _plausible(usage: Usage, output_chars: int) -> tuple[Usage | None, tuple[str, ...]]:
    if output_chars and usage.output_tokens == 0:
        return None, SUSPECT
    return usage, ()
