"""Golden: what we charge is what genai-prices computes from the same usage, to the pico-dollar."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_plugins.http.wire.usage import anthropic_usage, openai_usage
from mesh_store.model.money import pico_usd
from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Usage
from mesh_store.postgres.price_list import listed
from mesh_store.postgres.rates import Timeline

GOOGLE = "https://generativelanguage.googleapis.com"
PROVIDERS = {
    "openai": Provider(id="1", name="openai", kind="openai"),
    "anthropic": Provider(id="2", name="anthropic", kind="anthropic"),
    "google": Provider(id="3", name="google", kind="openai", base_url=GOOGLE),
    "deepseek": Provider(id="4", name="deepseek", kind="openai", base_url="https://api.deepseek.com"),
}
#: Before and after the list's newest dated prices, and inside and outside of cheaper hours.
MOMENTS = [
    datetime(2025, 3, 1, 12, tzinfo=UTC),
    datetime(2026, 6, 1, 20, tzinfo=UTC),
    datetime(2026, 11, 20, 12, tzinfo=UTC),
    datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC),
]


def ours(provider: str, model: str, usage: Usage, moment: datetime) -> int | None:
    at_us = int(moment.timestamp()) * 1_000_000
    rates = Timeline(listed(PROVIDERS[provider], model).changes).at(at_us)
    assert rates is not None, f"{provider}/{model} has no price"
    return rates.cost(usage, at_us)


def theirs(provider: str, model: str, moment: datetime, context: Any = None, **tokens: int) -> int:
    price = get_snapshot().calc(
        genai_prices.Usage(**tokens), model, provider, None, moment, price_context=context
    )
    return pico_usd(price.total_price)


OPENAI_CHAT = {
    "prompt_tokens": 12_345,
    "completion_tokens": 678,
    "total_tokens": 13_023,
    "prompt_tokens_details": {"cached_tokens": 8_192},
    "completion_tokens_details": {"reasoning_tokens": 300},
}
OPENAI_RESPONSES = {
    "input_tokens": 12_345,
    "input_tokens_details": {"cached_tokens": 8_192},
    "output_tokens": 678,
    "output_tokens_details": {"reasoning_tokens": 300},
    "total_tokens": 13_023,
}


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "gpt-5-mini", "gpt-5", "o3"])
@pytest.mark.parametrize("raw", [OPENAI_CHAT, OPENAI_RESPONSES], ids=["chat", "responses"])
def test_openai(raw: dict[str, Any], model: str, moment: datetime) -> None:
    usage, _ = openai_usage(raw)
    assert usage is not None
    expected = theirs(
        "openai", model, moment, input_tokens=12_345, cache_read_tokens=8_192, output_tokens=678
    )
    assert ours("openai", model, usage, moment) == expected


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("model", ["text-embedding-3-small", "text-embedding-3-large"])
def test_embeddings(model: str, moment: datetime) -> None:
    usage, _ = openai_usage({"prompt_tokens": 98_765, "total_tokens": 98_765})
    assert usage is not None
    assert ours("openai", model, usage, moment) == theirs("openai", model, moment, input_tokens=98_765)


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-1", "claude-3-5-haiku-latest"])
@pytest.mark.parametrize("sent", [1_000, 250_000])
def test_anthropic_with_cache_reads_and_writes(sent: int, model: str, moment: datetime) -> None:
    raw = {
        "input_tokens": sent,
        "cache_read_input_tokens": 40_000,
        "cache_creation_input_tokens": 2_500,
        "output_tokens": 777,
    }
    usage, _ = anthropic_usage(raw)
    assert usage is not None
    expected = theirs(
        "anthropic",
        model,
        moment,
        input_tokens=sent + 42_500,
        cache_read_tokens=40_000,
        cache_write_tokens=2_500,
        output_tokens=777,
    )
    assert ours("anthropic", model, usage, moment) == expected


@pytest.mark.parametrize(
    ("provider", "model"), [("anthropic", "claude-sonnet-4-5"), ("google", "gemini-2.5-pro")]
)
@pytest.mark.parametrize("sent", [199_999, 200_000, 200_001])
def test_a_call_that_sends_more_than_a_tier_pays_the_tier_for_all_of_it(
    sent: int, provider: str, model: str
) -> None:
    usage = Usage(sent, 1_000, 150_000)
    expected = theirs(
        provider, model, MOMENTS[1], input_tokens=sent, cache_read_tokens=150_000, output_tokens=1_000
    )
    assert ours(provider, model, usage, MOMENTS[1]) == expected
    if sent == 200_001:
        assert expected > 1.5 * (ours(provider, model, Usage(200_000, 1_000, 150_000), MOMENTS[1]) or 0)


def test_an_hour_of_cache_is_dearer_than_five_minutes() -> None:
    usage = Usage(5_000, 10, 0, 4_000, cache_write_1h_tokens=3_000)
    expected = theirs(
        "anthropic",
        "claude-sonnet-4-5",
        MOMENTS[1],
        input_tokens=5_000,
        cache_write_tokens=4_000,
        cache_write_5m_tokens=1_000,
        cache_write_1h_tokens=3_000,
        output_tokens=10,
    )
    assert ours("anthropic", "claude-sonnet-4-5", usage, MOMENTS[1]) == expected
    assert expected > (ours("anthropic", "claude-sonnet-4-5", Usage(5_000, 10, 0, 4_000), MOMENTS[1]) or 0)


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize(
    ("provider", "model", "service", "context"),
    [
        ("openai", "gpt-5", "batch", {"processing": "batch"}),
        ("openai", "gpt-5", "flex", {"service_tier": "flex"}),
        ("openai", "gpt-5", "priority", {"service_tier": "priority"}),
        ("openai", "gpt-5", "default", {"service_tier": "default"}),
        ("anthropic", "claude-sonnet-4-5", "batch", {"processing": "batch"}),
        ("google", "gemini-2.5-pro", "batch", {"processing": "batch"}),
    ],
)
@pytest.mark.parametrize("sent", [10_000, 300_000])
def test_a_service_has_prices_of_its_own_since_they_are_known(
    sent: int, provider: str, model: str, service: str, context: dict[str, str], moment: datetime
) -> None:
    usage = Usage(sent, 1_000, 4_000, service=service)
    expected = theirs(
        provider, model, moment, context, input_tokens=sent, cache_read_tokens=4_000, output_tokens=1_000
    )
    assert ours(provider, model, usage, moment) == expected


@pytest.mark.parametrize("hour", range(24))
def test_prices_may_depend_on_the_hour(hour: int) -> None:
    moment = datetime(2025, 3, 1, hour, 30, tzinfo=UTC)
    expected = theirs(
        "deepseek",
        "deepseek-chat",
        moment,
        input_tokens=1_000,
        cache_read_tokens=400,
        output_tokens=100,
    )
    assert ours("deepseek", "deepseek-chat", Usage(1_000, 100, 400), moment) == expected


def _all_models() -> list[tuple[str, str]]:
    return [
        (provider.id, model.id)
        for provider in get_snapshot().providers
        if provider.id in PROVIDERS
        for model in provider.models
        if Timeline(listed(PROVIDERS[provider.id], model.id).changes).at(2**60) is not None
    ]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_model_any_usage_any_time(data: st.DataObject) -> None:
    provider, model = data.draw(st.sampled_from(_all_models()))
    read, write, plain = (data.draw(st.integers(0, 300_000)) for _ in range(3))
    long = data.draw(st.integers(0, write))
    said = data.draw(st.integers(0, 100_000))
    moment = data.draw(st.sampled_from(MOMENTS))
    usage = Usage(plain + read + write, said, read, write, cache_write_1h_tokens=long)
    try:
        expected = theirs(
            provider,
            model,
            moment,
            input_tokens=plain + read + write,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=long,
            cache_write_5m_tokens=write - long,
            output_tokens=said,
        )
    except (LookupError, ValueError):
        return  # the list finds the model under another name, or refuses the mixture
    assert ours(provider, model, usage, moment) == expected


def test_a_model_without_a_price_has_none_and_is_not_free() -> None:
    assert listed(PROVIDERS["openai"], "no-such-model").changes == ((0, None),)


def test_the_list_is_kept_exactly() -> None:
    """A price per million of up to six decimals is a whole number of pico-USD per token."""
    exact = {"openai", "anthropic", "google", "azure", "mistral", "groq", "deepseek", "x-ai", "aws"}
    for provider in get_snapshot().providers:
        if provider.id not in exact:
            continue
        for model in provider.models:
            sheets = model.prices if isinstance(model.prices, list) else [model]
            for sheet in sheets:
                for name, price in sheet.prices.__dict__.items():
                    if name.endswith("_mtok") and isinstance(price, Decimal):
                        assert price * 10**6 % 1 == 0, (provider.id, model.id, name)
