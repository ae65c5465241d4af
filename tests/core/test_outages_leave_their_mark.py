"""What policies decided while Redis was away shows in facts, and asks for nothing to be given back."""

from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.errors import QuotaUnavailable
from mesh_store.model.limits import Decision, Reservation


@pytest.mark.parametrize("recorded", [True, False])
def test_a_call_admitted_by_policy_is_flagged_and_ends_once(
    make_world: Callable[..., Any], recorded: bool
) -> None:
    world = make_world()

    def admit(charges: Any) -> Decision:
        return Decision(
            admitted=True,
            remaining=(0, 0),
            retry_after_us=0,
            reset_after_us=(0, 0),
            reservation=Reservation("r", charges, 1, 2) if recorded else None,
            enforced=False,
        )

    world.limiter.refuse = admit
    world.call()
    [fact] = world.recorder.facts
    assert fact.flags == ("unenforced",)
    assert len(world.recorder.settlements) == recorded
    assert world.recorder.intents[0].lost.flags == ("unenforced",)


@pytest.mark.parametrize("asked", [True, False])
def test_only_what_may_have_been_granted_is_given_back(make_world: Callable[..., Any], asked: bool) -> None:
    world = make_world()
    world.limiter.error = QuotaUnavailable("away", asked=asked)
    with pytest.raises(QuotaUnavailable):
        world.call()
    assert len(world.recorder.cancels) == asked
    [fact] = world.recorder.facts
    assert (fact.outcome, fact.error_type) == ("denied", "QuotaUnavailable")
