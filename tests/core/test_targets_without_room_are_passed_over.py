"""A full limit on one provider or target sends the call to the next one, and takes nothing there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mesh_plugins.core.call import ProviderReply
from mesh_plugins.testing.limiter import AsyncMemoryLimiter, MemoryLimiter
from mesh_store.model.errors import ConfigError, ProviderError, QuotaExceeded, QuotaUnavailable
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import Provider
from mesh_store.model.usage import Usage

MINUTE = 60_000_000


@pytest.fixture
def shop(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> Callable[..., Any]:
    """A world whose limiter really counts; limits on the team, and on each provider."""

    def make(script: Any = None, *, first: int = 1, second: int = 1, team: int = 100, **more: Any) -> Any:
        limits = (
            make_rule("r-team", "requests", team, team="t1"),
            make_rule("r-first", "requests", first, provider="p1"),
            make_rule("r-second", "requests", second, provider="p2"),
            *more.pop("limits", ()),
        )
        world = make_world(script, limits=limits, **more)
        counting = Counting()
        world.runtime.limiter, world.runtime.async_limiter = counting, AsyncMemoryLimiter(counting)
        world.limiter = counting
        world.recorder.done, kept = settling(counting, world.recorder.done), world.recorder.settle
        world.recorder.settle = lambda each: (kept(each), counting.settle(each.reservation, each.deltas))
        return world

    return make


class Counting(MemoryLimiter):
    """The limiter in memory, on a clock that stands still; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda: 1_000_000)
        self.questions = 0

    def reserve(self, *arguments: Any, **options: Any) -> Any:
        self.questions += 1
        return super().reserve(*arguments, **options)

    def left(self, world: Any) -> dict[str, int]:
        from mesh_plugins.core.plan import plan_call

        plan = plan_call(world.ask(), world.config.snapshot(), world.runtime.hooks)
        asked = [msgspec.structs.replace(charge, amount=0) for charge in plan.charges]
        return {rule.id: left for rule, left in zip(plan.rules, self.peek(asked).remaining, strict=True)}


def settling(limiter: MemoryLimiter, inner: Any) -> Any:
    def done(record: Any) -> None:
        inner(record)
        if record.settlement is not None:
            limiter.settle(record.settlement.reservation, record.settlement.deltas)

    return done


def models(world: Any) -> list[str]:
    return [call.target.model for call in world.sender.calls]


def test_the_first_target_with_room_is_asked_and_nothing_is_taken_from_the_full_one(shop: Any) -> None:
    world = shop(first=1, second=2)
    world.call()
    assert world.limiter.questions == 1
    world.call()
    assert world.limiter.questions == 3  # one more round trip
    assert models(world) == ["small", "large"]
    assert world.limiter.left(world) == {"r-team": 98, "r-first": 0, "r-second": 1}
    assert [fact.outcome for fact in world.recorder.facts] == ["ok", "ok"]


async def test_it_is_the_same_on_an_event_loop(shop: Any) -> None:
    world = shop(first=1, second=1)
    await world.acall()
    await world.acall()
    assert models(world) == ["small", "large"]


def test_the_call_is_refused_only_when_no_target_fits_and_then_by_the_first_ones_limit(shop: Any) -> None:
    world = shop(first=1, second=1)
    world.call()
    world.call()
    with pytest.raises(QuotaExceeded) as refused:
        world.call()
    assert refused.value.limit == "1 requests/min"
    assert models(world) == ["small", "large"]
    assert world.limiter.left(world)["r-team"] == 98


def test_a_full_limit_of_the_caller_is_refused_at_once_whatever_targets_have(shop: Any) -> None:
    world = shop(team=1, first=5, second=5)
    world.call()
    with pytest.raises(QuotaExceeded):
        world.call()
    assert world.limiter.questions == 2
    assert models(world) == ["small"]


def test_who_waits_goes_to_another_target_before_he_waits_for_the_first(shop: Any) -> None:
    world = shop(first=1, second=1)
    world.call()
    world.call(max_wait_s=60)
    assert models(world) == ["small", "large"]
    assert world.recorder.facts[-1].duration_us < 5_000_000


def test_a_fallback_charges_the_limits_of_the_other_provider_before_it_is_called(
    shop: Any, fail: Callable[..., ProviderError]
) -> None:
    world = shop([fail(status=503), ProviderReply("second", Usage(3, 4), "stop")], first=5, second=5)
    seen = []
    world.sender.send, send = (
        (lambda call: (seen.append(world.limiter.left(world)), send(call))[1]),
        world.sender.send,
    )
    world.call()
    assert seen[0] == {"r-team": 99, "r-first": 4, "r-second": 5}
    assert seen[1] == {"r-team": 99, "r-first": 4, "r-second": 4}
    assert world.limiter.left(world) == {"r-team": 99, "r-first": 4, "r-second": 4}
    [extension] = world.recorder.extensions
    assert extension.actual == (1,)
    assert world.recorder.intents[-1].also == (extension.reservation,)


def test_a_full_fallback_is_not_called_and_the_callers_error_is_the_providers(
    shop: Any, fail: Callable[..., ProviderError]
) -> None:
    world = shop([fail(status=503)], first=5, second=0)
    with pytest.raises(ProviderError) as failed:
        world.call()
    assert failed.value.status == 503
    assert models(world) == ["small"]
    assert [fact.outcome for fact in world.recorder.facts] == ["error", "denied"]
    assert world.limiter.left(world) == {"r-team": 99, "r-first": 4, "r-second": 0}


def test_a_fallback_whose_limit_cannot_be_checked_is_passed_over(
    shop: Any, fail: Callable[..., ProviderError]
) -> None:
    world = shop([fail(status=503)], first=5, second=5)
    reserve = world.limiter.reserve

    def once(*arguments: Any, **options: Any) -> Any:
        if world.limiter.questions:
            raise QuotaUnavailable("redis is away")
        return reserve(*arguments, **options)

    world.limiter.reserve = once
    with pytest.raises(ProviderError):
        world.call()
    assert models(world) == ["small"]
    assert len(world.recorder.cancels) == 1  # it may have been granted unheard


def test_a_billed_failure_is_covered_before_the_next_attempt(
    shop: Any, make_rule: Callable[..., Any], fail: Callable[..., ProviderError]
) -> None:
    tokens = make_rule("r-tokens", "tokens", 150, team="t1")
    garbled = fail("protocol", billed=True)
    world = shop([garbled, ProviderReply("second", Usage(3, 4), "stop")], first=5, second=5, limits=(tokens,))
    world.call()
    first, last = world.recorder.facts
    assert (first.outcome, first.estimated, first.output_tokens) == ("error", True, 50)
    spent = first.input_tokens + first.output_tokens + last.input_tokens + last.output_tokens
    assert world.limiter.left(world)["r-tokens"] == 150 - spent


def test_a_billed_failure_that_leaves_no_room_ends_the_fallback(
    shop: Any, make_rule: Callable[..., Any], fail: Callable[..., ProviderError]
) -> None:
    tokens = make_rule("r-tokens", "tokens", 90, team="t1")
    world = shop([fail("protocol", billed=True)], first=5, second=5, limits=(tokens,))
    with pytest.raises(ProviderError):
        world.call()
    assert models(world) == ["small"]


def test_a_target_whose_secret_is_missing_falls_back_to_the_next(shop: Any) -> None:
    world = shop(
        first=5,
        second=5,
        providers=(
            Provider(id="p1", name="first", kind="openai", secret="env:MESH_TEST_NO_SUCH"),
            Provider(id="p2", name="second", kind="openai"),
        ),
    )
    world.call()
    assert models(world) == ["large"]
    assert world.limiter.left(world) == {"r-team": 99, "r-first": 5, "r-second": 4}
    assert [(fact.outcome, fact.error_type) for fact in world.recorder.facts] == [
        ("error", "setup"),
        ("ok", None),
    ]


def test_a_slot_of_another_provider_is_held_while_it_is_called(
    shop: Any, make_rule: Callable[..., Any], fail: Callable[..., ProviderError]
) -> None:
    slots = make_rule(
        "r-slots", "concurrency", 1, limit=Limit(amount=1, period_us=MINUTE, kind="slots"), provider="p2"
    )
    world = shop(
        [fail(status=503), ProviderReply("second", Usage(3, 4), "stop")], first=5, second=5, limits=(slots,)
    )
    seen = []
    send = world.sender.send
    world.sender.send = lambda call: (seen.append(world.limiter.left(world)["r-slots"]), send(call))[1]
    world.call()
    assert seen == [1, 0]
    assert world.limiter.left(world)["r-slots"] == 1


def test_a_shadow_flag_is_not_set_by_limits_of_targets_that_were_only_asked_about(shop: Any) -> None:
    world = shop(first=5, second=0)
    world.call()
    assert world.recorder.facts[0].flags == ()


def test_without_another_target_a_missing_secret_is_still_the_error(shop: Any) -> None:
    nothing = Provider(id="p1", name="first", kind="openai", secret="env:MESH_TEST_NO_SUCH")
    other = Provider(id="p2", name="second", kind="openai", secret="env:MESH_TEST_NO_SUCH")
    world = shop(first=5, second=5, providers=(nothing, other))
    with pytest.raises(ConfigError, match="MESH_TEST_NO_SUCH"):
        world.call()
