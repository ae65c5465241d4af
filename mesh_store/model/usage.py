"""What a call used, in one canonical form for every provider.

``input_tokens`` *includes* cache reads and cache writes; ``output_tokens`` includes reasoning
(the OTel GenAI rule). Wire formats that count exclusively (Anthropic) are converted where they are
parsed, and pricing subtracts the parts that have a rate of their own.
"""

from __future__ import annotations

import time

import msgspec


class Usage(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
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
        cache_write_1h_tokens: part of the cache writes that is kept for an hour, not for five minutes.
        service: the service that was used, as the provider calls it (``batch``, ``flex``, ``priority``), or
            None where it did not say.
        image_input_tokens: part of the input that was images.
        image_output_tokens: part of the output that was images.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    estimated: bool = False
    cache_write_1h_tokens: int = 0
    service: str | None = None
    image_input_tokens: int = 0
    image_output_tokens: int = 0

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
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.service or other.service,
            self.image_input_tokens + other.image_input_tokens,
            self.image_output_tokens + other.image_output_tokens,
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
        cache_write_1h: an input token written to cache for an hour; None charges it as any written one.
        audio_input: an audio token sent; None charges it as plain input.
        audio_output: an audio token generated; None charges it as plain output.
        terms: when other rates than these apply; None means never.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    request: int = 0
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    terms: Terms | None = None

    def cost(self, usage: Usage, at_us: int | None = None) -> int | None:
        """Return the exact cost of ``usage`` in pico-USD; integers in, integers out.

        Args:
            usage: what was used.
            at_us: when the call was made, microseconds since the epoch; None means now.

        Returns:
            The cost, or None at a time when the model has no price.
        """
        if self.terms is not None:
            rates = self.terms.instead_of(self, usage, at_us)
            if rates is not self:
                return None if rates is None else rates.cost(usage, at_us)
        plain, said = usage.input_tokens, usage.output_tokens
        cost = self.request
        if read := usage.cache_read_tokens:
            plain -= read
            cost += read * (self.input if self.cache_read is None else self.cache_read)
        if write := usage.cache_write_tokens:
            plain -= write
            cost += write * (self.input if self.cache_write is None else self.cache_write)
        if reasoning := usage.reasoning_tokens:
            said -= reasoning
            cost += reasoning * (self.output if self.reasoning is None else self.reasoning)
        if plain > 0:
            cost += plain * self.input
        if said > 0:
            cost += said * self.output
        if usage.cache_write_1h_tokens or usage.audio_input_tokens or usage.audio_output_tokens:
            cost += self._dearer(usage)
        return cost

    def _dearer(self, usage: Usage) -> int:
        """Return what rarer parts cost beyond the part they were counted in above."""
        more = 0
        if self.cache_write_1h is not None:
            written = self.input if self.cache_write is None else self.cache_write
            more += min(usage.cache_write_1h_tokens, usage.cache_write_tokens) * (
                self.cache_write_1h - written
            )
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        if self.audio_input is not None:
            # What was audio *and* cached is charged as cached: no provider says how much that is.
            more += min(usage.audio_input_tokens, max(0, plain)) * (self.audio_input - self.input)
        said = usage.output_tokens - usage.reasoning_tokens
        if self.audio_output is not None:
            more += min(usage.audio_output_tokens, max(0, said)) * (self.audio_output - self.output)
        return more


class Later(msgspec.Struct, gc=False, frozen=True):
    """Rates that replace the present ones at a moment; None when the model then has no price."""

    from_us: int
    rates: Rates | None


class Daily(msgspec.Struct, gc=False, frozen=True):
    """Rates of a part of each day (UTC), in seconds from midnight; the second bound is outside."""

    from_s: int
    until_s: int
    rates: Rates


class Tier(msgspec.Struct, gc=False, frozen=True):
    """Rates of a whole call that sends more than so many tokens."""

    above: int
    rates: Rates


class Terms(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """When other rates apply; asked in this order, the first that applies decides and may have terms too.

    Attributes:
        later: in order of time.
        daily: parts of the day.
        services: by the name of the service that was used.
        tiers: in order of size.
    """

    later: tuple[Later, ...] = ()
    daily: tuple[Daily, ...] = ()
    services: dict[str, Rates] = {}
    tiers: tuple[Tier, ...] = ()

    def instead_of(self, rates: Rates, usage: Usage, at_us: int | None) -> Rates | None:
        """Return the rates that apply: ``rates`` itself where none of these terms does."""
        if self.later or self.daily:
            now = time.time_ns() // 1000 if at_us is None else at_us
            for later in reversed(self.later):
                if now >= later.from_us:
                    return later.rates
            second = now // 1_000_000 % 86_400
            for part in self.daily:
                if part.from_s <= second < part.until_s:
                    return part.rates
        if usage.service is not None and usage.service in self.services:
            return self.services[usage.service]
        for tier in reversed(self.tiers):
            if usage.input_tokens > tier.above:
                return tier.rates
        return rates
