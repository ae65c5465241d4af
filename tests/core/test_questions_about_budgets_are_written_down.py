"""What a budget is asked for is in the ring before the question goes out, and ends with its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.errors import QuotaExceeded, QuotaUnavailable
from mesh_store.model.limits import Decision, Limit

DAY = Limit(amount=10**12, period_us=86_400_000_000, kind="window", on_outage="closed")


def refusing(charges: Any) -> Decision:
    none = (0,) * len(charges)
    return Decision(
        admitted=False,
        remaining=none,
        retry_after_us=5_000_000,
        reset_after_us=none,
        binding=len(charges) - 1,
    )


def unended(world: Any) -> set[str]:
    """Ids a drain would cancel if the process died now."""
    asked = {question.reservation_id for question in world.recorder.questions}
    asked -= {question.instead for question in world.recorder.questions}
    asked -= {cancel.reservation_id for cancel in world.recorder.cancels}
    asked -= {record.closes for record in world.recorder.records if hasattr(record, "closes")}
    for intent in world.recorder.intents:
        asked -= {held.id for held in (intent.reservation, *intent.also)}
    return asked


@pytest.fixture
def shop(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> Callable[..., Any]:
    """A world whose team has a budget, and one on its second provider."""

    def make(script: Any = None) -> Any:
        requests, money, second = (
            make_rule("r-requests", "requests", 600, team="t1"),
            make_rule("r-money", "usd", 0, limit=DAY, team="t1"),
            make_rule("r-second", "usd", 0, limit=DAY, provider="p2"),
        )
        return make_world(script, limits=(requests, money, second))

    return make


def test_before_the_limiter_hears_it(shop: Any) -> None:
    world, reserve = shop(), None
    asked: list[Any] = []
    reserve = world.limiter.reserve

    def watching(charges: Any, *, reservation_id: str, **more: Any) -> Any:
        asked.append((reservation_id, tuple(charges)))
        written = world.recorder.questions[-1]
        assert (written.reservation_id, written.charges) == asked[-1]
        return reserve(charges, reservation_id=reservation_id, **more)

    world.limiter.reserve = watching
    world.call()
    assert len(asked) == 1
    assert not unended(world)


def test_but_not_where_everything_comes_back_by_itself(make_world: Any) -> None:
    world = make_world()
    world.call()
    assert world.recorder.questions == []


def test_a_refusal_ends_it(shop: Any) -> None:
    world = shop()
    world.limiter.refuse = refusing
    with pytest.raises(QuotaExceeded):
        world.call()
    assert len(world.recorder.questions) == 1
    assert not unended(world)
    assert world.recorder.cancels == []


async def test_and_of_a_caller_who_asks_again_the_last_one_ends_them_all(shop: Any) -> None:
    world = shop()
    answers = [refusing, None]

    def in_turn(charges: Any) -> Decision:
        refuse = answers.pop(0)
        if refuse is not None:
            return refuse(charges)
        world.limiter.refuse = None
        return world.limiter.reserve(charges, reservation_id=world.recorder.questions[-1].reservation_id)

    world.limiter.refuse = in_turn
    await world.acall(max_wait_s=30)
    assert len(world.recorder.questions) == 2
    assert not unended(world)


@pytest.mark.parametrize("asked", [True, False])
def test_an_answer_nobody_heard_ends_it(shop: Any, asked: bool) -> None:
    world = shop()
    world.limiter.error = QuotaUnavailable("away", asked=asked)
    with pytest.raises(QuotaUnavailable):
        world.call()
    assert len(world.recorder.cancels) == int(asked)
    assert not unended(world)


@pytest.mark.parametrize("refused", [False, True])
def test_what_a_fallback_asks_on_top_is_written_down_and_ended_too(
    shop: Any, fail: Any, refused: bool
) -> None:
    from tests.core.ports import ANSWER

    world = shop([fail(), ANSWER])
    reserve = world.limiter.reserve

    def second(charges: Any, **more: Any) -> Any:
        if refused and len(world.recorder.questions) == 2:
            return refusing(charges)
        return reserve(charges, **more)

    world.limiter.reserve = second
    if refused:
        with pytest.raises(type(fail())):
            world.call()
    else:
        world.call()
    assert len(world.recorder.questions) == 2
    assert not unended(world)


def test_a_limiter_that_keeps_ids_of_its_own_leaves_none_behind(shop: Any) -> None:
    world = shop()
    reserve = world.limiter.reserve
    world.limiter.reserve = lambda charges, **more: reserve(charges, **more | {"reservation_id": "its own"})
    world.call()
    assert not unended(world)
