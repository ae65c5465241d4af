"""A budget without a collector refuses, and its error says what to look at."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.errors import BudgetExceeded, QuotaExceeded
from mesh_store.model.limits import Decision, Limit


def refusing(make_world: Callable[..., Any], make_rule: Callable[..., Any], wait_us: int) -> str:
    limit = Limit(amount=10**12, period_us=86_400_000_000, kind="window", on_outage="closed")
    world = make_world(limits=(make_rule("r1", "usd", 1, limit=limit, team="t1"),))
    world.limiter.refuse = lambda charges: Decision(
        admitted=False, remaining=(0,), retry_after_us=wait_us, reset_after_us=(wait_us,), binding=0
    )
    with pytest.raises(BudgetExceeded) as caught:
        world.call()
    return str(caught.value)


def test_one_that_was_never_counted(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> None:
    said = refusing(make_world, make_rule, 1_000_000)
    assert "no collector has counted this window yet; is `mesh collect` running?" in said
    assert "left" not in said


def test_one_that_is_spent(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> None:
    said = refusing(make_world, make_rule, 3_600_000_000)
    assert "has $0.00 left" in said
    assert "collector" not in said


def test_a_rate_that_waits_as_long_is_no_budget(make_world: Callable[..., Any]) -> None:
    world = make_world()
    world.limiter.refuse = lambda charges: Decision(
        admitted=False,
        remaining=(0, 0),
        retry_after_us=1_000_000,
        reset_after_us=(1_000_000, 0),
        binding=0,
    )
    with pytest.raises(QuotaExceeded) as caught:
        world.call()
    assert "collector" not in str(caught.value)


def test_the_limiter_really_answers_so() -> None:
    """What `refusing` pretends is what an unseeded window tells."""
    from mesh_store.model.limits import SEEDING_US, Charge
    from mesh_store.redis.kinds import term_of

    limit = Limit(amount=10**12, period_us=86_400_000_000, kind="window")
    term = term_of(Charge("{t}:q:a", limit, 1))
    assert term.standing(1, [0, 0, 1], 5, False) == (0, SEEDING_US, SEEDING_US)
