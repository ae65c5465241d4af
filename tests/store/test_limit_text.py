"""Limits as text: read as people write them, written one way, refused with a reason."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_store.model.errors import Rejected
from mesh_store.model.gcra import rate_of
from mesh_store.model.limit_text import (
    PERIODS,
    LimitTerms,
    default_burst,
    limit_text,
    parse_limit,
    parse_period_us,
    parse_terms,
)
from mesh_store.model.limits import MAX_EXACT, Limit

MINUTE, HOUR, DAY = PERIODS["min"], PERIODS["hour"], PERIODS["day"]


@pytest.mark.parametrize(
    ("written", "dimension", "limit"),
    [
        ("600 requests/min", "requests", Limit(amount=600, period_us=MINUTE, burst=60)),
        ("600/min", "requests", Limit(amount=600, period_us=MINUTE, burst=60)),
        ("600 rpm", "requests", Limit(amount=600, period_us=MINUTE, burst=60)),
        ("1 request per second", "requests", Limit(amount=1, period_us=PERIODS["s"], burst=1)),
        ("3 requests/10 ms", "requests", Limit(amount=3, period_us=10_000, burst=3)),
        ("10 requests/hour", "requests", Limit(amount=10, period_us=HOUR, burst=10)),
        ("40/hour", "requests", Limit(amount=40, period_us=HOUR, burst=10)),
        ("40/hour hard", "requests", Limit(amount=40, period_us=HOUR, burst=4, hard=True)),
        ("1,000 calls per 5 minutes", "requests", Limit(amount=1000, period_us=5 * MINUTE, burst=100)),
        ("100k tokens/min", "tokens", Limit(amount=100_000, period_us=MINUTE, burst=10_000)),
        ("1.5M input tokens/hour", "input_tokens", Limit(amount=1_500_000, period_us=HOUR, burst=150_000)),
        ("5 Output Tokens / H", "output_tokens", Limit(amount=5, period_us=HOUR, burst=1)),
        ("0 requests/min", "requests", Limit(amount=0, period_us=MINUTE)),
        ("600/min, burst 5", "requests", Limit(amount=600, period_us=MINUTE, burst=5)),
        ("600/min burst 5 hard", "requests", Limit(amount=600, period_us=MINUTE, burst=5, hard=True)),
        (
            "$50/day",
            "usd",
            Limit(amount=50 * 10**12, period_us=DAY, kind="window", on_outage="closed"),
        ),
        ("600/min, lease off", "requests", Limit(amount=600, period_us=MINUTE, burst=60, lease=False)),
        ("20 concurrent", "concurrency", Limit(amount=20, period_us=MINUTE, kind="slots")),
        (
            "1M tokens/day, calendar, tz Europe/Berlin, on outage share",
            "tokens",
            Limit(amount=10**6, period_us=DAY, kind="window", tz="Europe/Berlin"),
        ),
        ("0.25 usd/hour rolling", "usd", Limit(amount=25 * 10**10, period_us=HOUR)),
    ],
)
def test_a_limit_is_read_as_people_write_it(written: str, dimension: str, limit: Limit) -> None:
    assert parse_limit(written) == (dimension, limit)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("600 RPM", "600 requests/min"),
        ("100000 tokens per minute", "100k tokens/min"),
        ("1500000 input_tokens/h", "1.5M input tokens/hour"),
        ("usd 1500.5/month", "$1500.50/month"),
        ("$0.0001/s", "$0.0001/s"),
        ("20 concurrency", "20 concurrent"),
        ("5 requests/90 sec hard burst 2", "5 requests/90 s, burst 2, hard"),
        ("$5/60 minutes on outage open", "$5/hour, on outage open"),
        ("600 rpm LEASE off, hard", "600 requests/min, hard, lease off"),
        ("600 rpm lease on", "600 requests/min"),
    ],
)
def test_a_limit_is_written_one_way(written: str, canonical: str) -> None:
    assert parse_terms(written).text == canonical


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "amount is missing"),
        ("many/min", "'many/min' is not an amount"),
        ("-5/min", "not an amount"),
        ("nan/min", "not an amount"),
        ("inf/min", "not an amount"),
        ("1e5/min", "'e' is not something to count"),
        ("0x10/min", "not something to count"),
        ("\uff15/min", "not an amount"),
        ("600", "period is missing"),
        ("600 bananas/min", "'bananas' is not something to count"),
        ("600/fortnight", "'fortnight' is not a period"),
        ("600/0 s", "between 1 ms"),
        ("20 concurrent/min", "has no period"),
        ("1.5 requests/s", "finer than one"),
        ("9007199254740992 tokens/min", "more than a limit can hold"),
        ("1000 requests/min burst 1001 nonsense", "'nonsense' is not understood"),
        ("$5/day tz Mars", "'Mars' is not a time zone"),
        ("0/min burst 5", "never refills"),
        ("10/min burst 10 hard", "leaves nothing to sustain"),
        ("$1/s burst $0.0000000000001", "not an amount"),
    ],
)
def test_a_limit_that_cannot_be_read_says_why_and_how_to_write_one(written: str, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_terms(written)
    assert reason in str(refused.value)
    assert "'600 requests/min'" in str(refused.value)
    assert refused.value.field == "limit"


@pytest.mark.parametrize("value", [None, 5, 5.0, True, ["600/min"], "x" * 201])
def test_what_is_no_text_is_no_limit(value: object) -> None:
    with pytest.raises(Rejected):
        parse_terms(value)


terms = st.builds(
    LimitTerms,
    dimension=st.sampled_from(["requests", "tokens", "input_tokens", "output_tokens"]),
    amount=st.integers(1, 10**12).map(Decimal),
    period_us=st.integers(1, 10**7).map(lambda ms: ms * 1000),
    burst=st.none() | st.integers(1, 10**6).map(Decimal),
    kind=st.sampled_from(["rate", "window"]),
    on_outage=st.sampled_from(["closed", "share", "open"]),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
    lease=st.booleans(),
)
money = st.builds(
    LimitTerms,
    dimension=st.just("usd"),
    amount=st.decimals(0, 9_000_000, places=12, allow_nan=False, allow_infinity=False),
    period_us=st.sampled_from(list(PERIODS.values())),
    kind=st.just("window"),
    on_outage=st.just("closed"),
)


@given(terms | money)
def test_what_is_written_reads_back_the_same(written: LimitTerms) -> None:
    assert parse_terms(written.text) == written


@given(terms | money)
def test_a_compiled_limit_still_knows_its_text(written: LimitTerms) -> None:
    limit = written.limit()
    assert parse_terms(limit_text(written.dimension, limit)).limit() == limit


@given(st.text(max_size=40) | st.from_regex(r"[0-9.,k$/ a-z]{0,30}", fullmatch=True))
def test_any_text_is_a_limit_that_can_be_kept_or_refused(written: str) -> None:
    try:
        parsed = parse_terms(written)
    except Rejected:
        return
    limit = parsed.limit()
    assert limit.amount <= MAX_EXACT or limit.kind == "window"
    if limit.kind == "rate":
        rate_of(limit)


@given(st.integers(0, MAX_EXACT), st.integers(0, 2_000_000))
def test_the_rule_of_thumb_lets_an_ordinary_call_through_and_never_more_than_the_amount(
    amount: int, context_window: int
) -> None:
    burst = default_burst("tokens", amount, context_window)
    assert burst <= amount
    assert burst >= min(amount, context_window)
    assert 0 < default_burst("requests", amount) <= amount or amount == 0


def test_a_hard_limit_keeps_something_to_sustain_however_large_a_call_may_be() -> None:
    limit = parse_terms("100k tokens/min hard").limit(context_window=400_000)
    assert limit.burst == 50_000
    rate_of(limit)


@pytest.mark.parametrize(("text", "us"), [("90d", 90 * DAY), ("12 h", 12 * HOUR), ("30 min", 30 * MINUTE)])
def test_a_duration_is_read_too(text: str, us: int) -> None:
    assert parse_period_us(text) == us


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5d", "90 parsecs", "9999999999d"])
def test_a_duration_that_is_none_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_period_us(text)
