"""What follows a failed attempt: the next target, a pause and the same again, or the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_plugins.core import drivers
from mesh_plugins.core.retries import MOST_REPEATS, RetryBudget, next_step
from mesh_store.model.errors import ProviderError
from mesh_store.model.snapshot import Alias, Target


def step(error, *, target=0, targets=1, repeats=0, left_s=60.0, budget=None):
    return next_step(
        error, target=target, targets=targets, repeats=repeats, left_s=left_s, budget=budget or RetryBudget()
    )


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_a_transient_status_falls_back_to_the_next_target_at_once(fail, status):
    assert step(fail(status=status), targets=2) == (step(fail(status=status), targets=2))
    assert step(fail(status=status), targets=2).target == 1
    assert step(fail(status=status), targets=2).delay_s == 0.0


@pytest.mark.parametrize("status", [307, 401, 403, 404])
def test_a_target_that_is_set_up_wrongly_is_left_but_never_asked_again(fail, status):
    assert step(fail(status=status), targets=2).target == 1
    assert step(fail(status=status)) is None


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_wrong_is_wrong_everywhere(fail, status):
    assert step(fail(status=status), targets=2) is None


def test_a_timeout_ends_the_call_because_it_may_be_billed(fail):
    assert step(fail("timeout", 504), targets=2) is None


def test_retry_after_is_kept_to_and_ends_the_call_when_it_is_past_the_deadline(fail):
    assert step(fail(status=429, retry_after=7.0)).delay_s == 7.0
    assert step(fail(status=429, retry_after=7.0), left_s=6.0) is None


def test_repeats_are_few(fail):
    assert step(fail(status=503), repeats=MOST_REPEATS) is None


def test_a_budget_keeps_repeats_to_a_tenth_of_calls(fail):
    budget = RetryBudget(ratio=0.1, floor=2.0)
    spent = 0
    for _ in range(200):
        budget.earn()
        spent += step(fail(status=503), budget=budget) is not None
    assert 15 <= spent <= 22


@given(
    st.sampled_from(["status", "connect", "timeout", "incomplete", "protocol"]),
    st.integers(400, 599),
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(0, 4),
    st.floats(-1, 100),
)
def test_a_step_is_always_a_later_target_or_the_same_within_the_deadline(
    kind, status, target, targets, repeats, left
):
    error = ProviderError("x", provider="p", model="m", kind=kind, status=status)
    if target >= targets:
        return
    following = step(error, target=target, targets=targets, repeats=repeats, left_s=left)
    if following is not None:
        assert following.target in (target, target + 1)
        assert following.target < targets
        assert following.delay_s < max(left, 0.001)


def test_the_last_target_is_asked_again_and_every_failure_is_kept_on_the_error(make_world, fail, monkeypatch):
    pauses = []
    monkeypatch.setattr(drivers.time, "sleep", pauses.append)
    world = make_world(
        [fail(status=503), fail(status=503), fail(status=503), fail(status=503)],
        aliases=(Alias(id="a1", name="fast", targets=(Target(id="x1", provider="p1", model="small"),)),),
    )
    with pytest.raises(ProviderError) as caught:
        world.call()
    assert len(world.sender.calls) == 1 + MOST_REPEATS
    assert len(pauses) == MOST_REPEATS
    assert len(caught.value.attempts) == MOST_REPEATS
    assert [fact.attempt for fact in world.recorder.facts] == [1, 2, 3]
    assert len(world.recorder.settlements) == 1


def test_the_hosts_own_exception_is_what_its_caller_sees(make_world):
    world = make_world([ConnectionRefusedError("nobody there")])
    with pytest.raises(ConnectionRefusedError):
        world.call()
    assert {call.provider.name for call in world.sender.calls} == {"first", "second"}
