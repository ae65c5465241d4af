"""A limit with ``enforce: false`` refuses no call; the fact says that it would have."""

from collections.abc import Callable
from typing import Any

import msgspec

from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.limits import Decision, Limit, Reservation

ASK = [{"role": "user", "content": "hi"}]


def watched(mesh: MemoryMesh, count: int) -> MemoryMesh:
    """Put the first ``count`` limits of a mesh into shadow mode."""
    config: Any = mesh.config
    rules = config.document.limits
    seen = tuple(msgspec.structs.replace(rule, enforce=False) for rule in rules[:count])
    config.publish(msgspec.structs.replace(config.document, limits=seen + rules[count:]))
    return mesh


def test_calls_go_on_and_their_facts_are_flagged() -> None:
    mesh = watched(MemoryMesh(limits=["20 requests/hour, burst 2", "1000 requests/hour"]), 1)
    for _ in range(5):
        mesh.chat("fast", ASK)
    assert [fact.outcome for fact in mesh.facts] == ["ok"] * 5
    assert [fact.flags for fact in mesh.facts] == [(), (), *[("shadow_denied",)] * 3]


def test_an_enforced_limit_beside_it_still_refuses() -> None:
    mesh = watched(MemoryMesh(limits=["1 concurrent", "20 requests/hour, burst 2"]), 1)
    outcomes = []
    for _ in range(4):
        try:
            mesh.chat("fast", ASK)
        except Exception as error:
            outcomes.append(type(error).__name__)
    assert outcomes == ["QuotaExceeded"] * 2


def test_a_hard_one_needs_no_bound(make_world: Callable[..., Any], make_rule: Callable[..., Any]) -> None:
    hard = Limit(amount=1_000, period_us=60_000_000, hard=True)
    rule = msgspec.structs.replace(make_rule("r1", "tokens", 1_000, limit=hard, team="t1"), enforce=False)
    world = make_world(limits=(rule,))
    world.call(payload={"messages": ASK})
    [[charge]] = world.limiter.asked
    assert not charge.enforce
    assert charge.amount > 0


def test_a_call_that_dies_is_flagged_too(make_world: Callable[..., Any]) -> None:
    world = make_world()

    def admit(charges: Any) -> Decision:
        return Decision(
            admitted=True,
            remaining=(0, 0),
            retry_after_us=0,
            reset_after_us=(0, 0),
            reservation=Reservation("r", charges, 1, 2),
            shadow_denied=(1,),
        )

    world.limiter.refuse = admit
    world.call()
    assert world.recorder.intents[0].lost.flags == ("shadow_denied",)
    assert world.recorder.facts[0].flags == ("shadow_denied",)
