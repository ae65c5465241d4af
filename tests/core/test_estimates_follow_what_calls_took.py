"""What is reserved before the true usage is known: a guess, then what an alias' calls have taught."""

from __future__ import annotations

from typing import Any

import pytest

from mesh_plugins.core.plan import plan_call
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import ProviderError

#: 400 bytes of text and a few around it.
ASK = [{"role": "user", "content": "x" * 400}]


def said(sent: int, output: int) -> dict[str, Any]:
    """An answer whose provider counted so much."""
    return {
        "id": "a1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": sent, "completion_tokens": output, "total_tokens": sent + output},
    }


@pytest.fixture
def mesh() -> MemoryMesh:
    return MemoryMesh(aliases=("fast", "other"), limits=["1M tokens/min"])


def estimate(mesh: MemoryMesh, alias: str = "fast", **options: Any) -> tuple[int, int]:
    """Return the input and output that a call would reserve."""
    request = mesh.request("chat", alias, {"messages": ASK, **options})
    usage = plan_call(request, mesh.config.snapshot(), mesh.hooks).estimate
    return usage.input_tokens, usage.output_tokens


def teach(mesh: MemoryMesh, sent: int, outputs: list[int], alias: str = "fast") -> None:
    for output in outputs:
        mesh.sender.answer = said(sent, output)
        mesh.chat(alias, ASK)


def test_before_anything_was_learned_it_is_1024_tokens_or_the_callers_cap(mesh: MemoryMesh) -> None:
    assert estimate(mesh)[1] == 1_024
    assert estimate(mesh, max_tokens=64)[1] == 64
    assert estimate(mesh, max_tokens=5_000)[1] == 1_024


def test_then_it_is_the_95th_percentile_of_what_the_alias_answered(mesh: MemoryMesh) -> None:
    teach(mesh, 100, [10] * 120 + [700] * 8)
    assert estimate(mesh)[1] == 700
    teach(mesh, 100, [10] * 120)
    assert estimate(mesh)[1] == 700, "the last 128 count"
    teach(mesh, 100, [10] * 8)
    assert estimate(mesh)[1] == 10
    assert estimate(mesh, max_tokens=4)[1] == 4


def test_one_long_answer_in_a_hundred_does_not_move_it(mesh: MemoryMesh) -> None:
    teach(mesh, 100, [10] * 127 + [9_000])
    assert estimate(mesh)[1] == 10


def test_input_follows_the_tokens_that_a_byte_makes(mesh: MemoryMesh) -> None:
    first = estimate(mesh)[0]
    teach(mesh, first // 2, [5] * 60)
    # What a message takes beside its text stays as it is.
    assert abs(estimate(mesh)[0] - first // 2) <= 8
    teach(mesh, first * 2, [5] * 60)
    assert abs(estimate(mesh)[0] - first * 2) <= 8


def test_each_alias_learns_for_itself(mesh: MemoryMesh) -> None:
    before = estimate(mesh, "other")
    teach(mesh, 30, [5] * 16)
    assert estimate(mesh, "other") == before
    assert estimate(mesh)[1] == 5


def test_what_nobody_counted_and_what_failed_teach_nothing(mesh: MemoryMesh) -> None:
    before = estimate(mesh)
    unsaid = said(3, 3)
    del unsaid["usage"]
    for _ in range(16):
        mesh.sender.answer = unsaid
        mesh.chat("fast", ASK)
        mesh.sender.answer = ProviderError("down", provider="memory", model="m", status=400)
        with pytest.raises(ProviderError):
            mesh.chat("fast", ASK)
    assert estimate(mesh) == before


def test_what_was_learned_is_what_is_charged(mesh: MemoryMesh) -> None:
    teach(mesh, 100, [50] * 16)
    request = mesh.request("chat", "fast", {"messages": ASK})
    plan = plan_call(request, mesh.config.snapshot(), mesh.hooks)
    assert [charge.amount for charge in plan.charges] == [plan.estimate.input_tokens + 50]
