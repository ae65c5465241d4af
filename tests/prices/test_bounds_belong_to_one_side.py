"""Where one price ends and another begins: the bound itself belongs to exactly one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mesh_store.model.usage import Daily, Later, Rates, Terms, Tier, Usage
from mesh_store.postgres.price_versions import PER_MILLION, OwnPrices

PLAIN, OTHER, THIRD = Rates(1, 0), Rates(10, 0), Rates(100, 0)
ONE = Usage(input_tokens=1)
DAY_US = 86_400_000_000


def cost(terms: Terms, usage: Usage = ONE, at_us: int = 0) -> int | None:
    return Rates(1, 0, terms=terms).cost(usage, at_us)


@pytest.mark.parametrize(
    ("sent", "per_token"), [(999, 1), (1_000, 1), (1_001, 10), (2_000, 10), (2_001, 100), (9_000, 100)]
)
def test_a_tier_begins_with_the_first_token_above_it_and_holds_for_the_whole_call(
    sent: int, per_token: int
) -> None:
    tiers = Terms(tiers=(Tier(1_000, OTHER), Tier(2_000, THIRD)))
    assert cost(tiers, Usage(input_tokens=sent)) == sent * per_token


@pytest.mark.parametrize("day", [0, 20_000])
@pytest.mark.parametrize(
    ("at_us", "expected"),
    [
        (3_600_000_000 - 1, 1),
        (3_600_000_000, 10),
        (7_200_000_000 - 1, 10),
        (7_200_000_000, 1),
    ],
)
def test_a_part_of_the_day_begins_with_its_first_second_and_ends_before_its_last_bound(
    day: int, at_us: int, expected: int
) -> None:
    assert cost(Terms(daily=(Daily(3_600, 7_200, OTHER),)), at_us=day * DAY_US + at_us) == expected


@pytest.mark.parametrize(("at_us", "expected"), [(99, 1), (100, 10), (199, 10), (200, None), (201, None)])
def test_later_rates_begin_at_their_moment_and_may_be_none(at_us: int, expected: int | None) -> None:
    assert cost(Terms(later=(Later(100, OTHER), Later(200, None))), at_us=at_us) == expected


def test_what_is_later_goes_before_the_hour_the_service_and_the_size() -> None:
    usage = Usage(input_tokens=10, service="batch")
    every = {
        "later": (Later(0, Rates(2, 0)),),
        "daily": (Daily(0, 86_400, Rates(3, 0)),),
        "services": {"batch": Rates(5, 0)},
        "tiers": (Tier(1, Rates(7, 0)),),
    }
    found = []
    while every:
        found.append(cost(Terms(**every), usage))  # type: ignore[arg-type]
        del every[next(iter(every))]
    assert found == [20, 30, 50, 70]


def row(begins: int, ends: int | None, price: int | None, above: int = 0, service: str = "standard") -> Any:
    at = {name: datetime.fromtimestamp(moment, UTC) for name, moment in (("from", begins), ("to", ends or 0))}
    rates = dict.fromkeys(PER_MILLION) | dict.fromkeys(
        ("input", "output"), None if price is None else Decimal(price)
    )
    spans = {"valid_from": at["from"], "valid_to": at["to"] if ends else None}
    return rates | spans | {"request": 0, "above": above, "service": service}


@pytest.mark.parametrize(
    ("moment_us", "expected"),
    [(9_999_999, None), (10_000_000, 1_000_000), (19_999_999, 1_000_000), (20_000_000, None)],
)
def test_a_price_of_your_own_holds_from_its_first_moment_and_no_longer_at_its_last(
    moment_us: int, expected: int | None
) -> None:
    prices = OwnPrices([row(10, 20, 1)])
    found = prices.at(moment_us)
    assert (None if found is None else found.input) == expected
    assert prices.moments == {10_000_000, 20_000_000}


def test_what_was_recorded_last_wins_and_one_without_rates_goes_back_to_the_list() -> None:
    prices = OwnPrices([row(10, None, 1), row(15, 20, 2), row(30, None, None)])
    found = [prices.at(at * 1_000_000) for at in (12, 17, 25, 35)]
    assert [None if rates is None else rates.input for rates in found] == [
        1_000_000,
        2_000_000,
        1_000_000,
        None,
    ]


def test_tiers_of_your_own_stand_in_the_order_of_their_sizes_and_services_beside_them() -> None:
    rows = [row(0, None, 1), row(0, None, 3, above=200), row(0, None, 2, above=100)]
    found = OwnPrices([*rows, row(0, None, 5, service="batch")]).at(1)
    assert found is not None
    asked = [Usage(input_tokens=sent) for sent in (100, 101, 200, 201)] + [Usage(1_000, service="batch")]
    assert [found.cost(usage) for usage in asked] == [
        100_000_000,
        202_000_000,
        400_000_000,
        603_000_000,
        5_000_000_000,
    ]
