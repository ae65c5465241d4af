"""A fact before the oldest day that is kept, or too far ahead, is put aside: to the microsecond."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mesh_store.redis.stream import Batch
from mesh_store.telemetry.intake import FUTURE_US, Horizon, take

OLDEST, NEWEST = 1_700_000_000_000_000, 1_800_000_000_000_000


def minted(kit: Any, at_us: int, **fields: Any) -> Any:
    at = f"{at_us // 1000:012x}"
    fact = kit.fact(**{"started_at_us": at_us} | fields)
    return msgspec.structs.replace(fact, id=f"{at[:8]}-{at[8:]}{fact.id[13:]}")


def reasons(*facts: Any) -> list[str]:
    batch = Batch("r", 1, 0, 1, len(facts), msgspec.msgpack.encode(facts))
    taken = take(batch, Horizon(OLDEST, NEWEST))
    assert len(taken.facts) + len(taken.dead) == len(facts)
    return [each.reason for each in taken.dead]


def test_the_bounds_themselves_are_within(kit: Any) -> None:
    assert reasons(minted(kit, OLDEST), minted(kit, NEWEST)) == []


@pytest.mark.parametrize(
    ("minted_us", "started_us", "reason"),
    [
        (OLDEST, OLDEST - 1, "too_old"),
        (OLDEST - 1_000, OLDEST, "too_old"),
        (NEWEST, NEWEST + 1, "too_new"),
        (NEWEST + 1_000, NEWEST, "too_new"),
    ],
)
def test_either_moment_of_a_fact_puts_it_aside_and_no_other(
    kit: Any, minted_us: int, started_us: int, reason: str
) -> None:
    odd = minted(kit, minted_us, started_at_us=started_us)
    assert reasons(minted(kit, OLDEST), odd, minted(kit, NEWEST)) == [reason]


def test_a_fact_may_lie_ten_minutes_ahead() -> None:
    assert FUTURE_US == 600_000_000
