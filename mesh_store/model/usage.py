"""What a call used, in one canonical form for every provider.

``input_tokens`` *includes* cache reads and cache writes; ``output_tokens`` includes reasoning
(the OTel GenAI rule). Wire formats that count exclusively (Anthropic) are converted where they are
parsed, and pricing subtracts the parts that have a rate of their own.
"""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one attempt.

    Attributes:
        input_tokens: everything sent, cached parts included.
        output_tokens: everything generated, reasoning included.
        cache_read_tokens: part of the input read from the provider's cache.
        cache_write_tokens: part of the input written to the provider's cache.
        reasoning_tokens: part of the output that was reasoning.
        audio_input_tokens: part of the input that was audio.
        audio_output_tokens: part of the output that was audio.
        estimated: True when the provider did not say and we estimated.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together; the parts are not counted again."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.audio_input_tokens + other.audio_input_tokens,
            self.audio_output_tokens + other.audio_output_tokens,
            self.estimated or other.estimated,
        )


class Rates(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """Prices of one model in pico-USD per token; None where the part has no rate of its own.

    Attributes:
        input: a plain input token.
        output: an output token.
        cache_read: an input token read from cache; None charges it as plain input.
        cache_write: an input token written to cache; None charges it as plain input.
        reasoning: a reasoning token; None charges it as plain output.
        request: once per request.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0

    def cost(self, usage: Usage) -> int:
        """Return the exact cost of ``usage`` in pico-USD; integers in, integers out."""
        read, write, reasoning = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        plain_input = max(0, usage.input_tokens - read - write)
        plain_output = max(0, usage.output_tokens - reasoning)
        return (
            self.request
            + plain_input * self.input
            + read * (self.input if self.cache_read is None else self.cache_read)
            + write * (self.input if self.cache_write is None else self.cache_write)
            + plain_output * self.output
            + reasoning * (self.output if self.reasoning is None else self.reasoning)
        )
