"""A limit into which no ordinary call fits is named before somebody's call is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh_plugins.cli.checks.limits import limits
from mesh_plugins.cli.fitting import unfit
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.errors import QuotaExceeded
from mesh_store.model.limit_text import parse_limit
from mesh_store.model.snapshot import (
    Alias,
    LimitRule,
    Provider,
    SnapshotDocument,
    Subject,
    Target,
    Team,
)
from mesh_store.model.usage import Rates
from mesh_store.redis import connect_async


def document(text: str, cap: int | None = None, *, enforce: bool = True, **subject: str) -> SnapshotDocument:
    """A team with one limit, one alias it may use and one it may not."""
    dimension, limit = parse_limit(text)
    target = Target(id="x1", provider="p1", model="m", max_output_tokens=cap)
    return SnapshotDocument(
        epoch="e",
        revision=1,
        compiled_at_us=0,
        teams=(Team("t1", "research"), Team("t2", "sales")),
        providers=(Provider(id="p1", name="p", kind="openai", base_url="http://memory.invalid/v1"),),
        aliases=(
            Alias(id="a0", name="closed", targets=(target,), grants=("t2",)),
            Alias(id="a1", name="fast", targets=(target,), grants=("t1",)),
        ),
        limits=(
            LimitRule(
                id="r", subject=Subject(**{"team": "t1"} | subject), dimension=dimension, limit=limit,
                text=text, label="team research", enforce=enforce,
            ),
        ),
        rates={"x1": Rates(input=10**6, output=10**6)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cap", "said"),
    [
        ("1000 tokens/min, burst 1000", None, "lets 1,000 tokens through at once; a call of 'fast'"),
        ("5000 tokens/min, burst 500", None, "lets 500 tokens through at once"),
        ("9000 output tokens/min, hard", 4_096, "reserves 4,096 output tokens, and never fits"),
        ("$0.0000001/day", None, "never fits"),
    ],
)
def test_it_is_named_with_what_it_would_need_and_such_a_call_is_refused(
    text: str, cap: int | None, said: str
) -> None:
    [found] = unfit(document(text, cap))
    assert (found.limit, found.subject) == (text, "team research")
    assert said in found.why
    assert "max_tokens" in found.fix
    with pytest.raises(QuotaExceeded) as refused:
        MemoryMesh(document=document(text, cap)).chat("fast", [{"role": "user", "content": "hi"}])
    assert refused.value.retry_after is None or "day" in text


@pytest.mark.parametrize(
    ("text", "cap", "changes"),
    [
        ("5000 tokens/min, burst 2000", None, {}),
        ("1000 tokens/min, burst 1000", 100, {}),
        ("9000 output tokens/min, hard", 400, {}),
        ("1000 tokens/min", None, {"enforce": False}),
        ("1000 tokens/min", None, {"alias": "a0"}),
        ("1 concurrent", None, {}),
        ("0 requests/min", None, {}),
        ("$1/day", None, {}),
    ],
)
def test_others_are_not(text: str, cap: int | None, changes: dict[str, Any]) -> None:
    assert unfit(document(text, cap, **changes)) == []


@pytest.mark.parametrize(
    "subject", [{"key": "k1"}, {"user": "u1"}, {"end_user": "*"}, {"tag": "batch"}, {"alias": "a1"}], ids=str
)
def test_whoever_it_binds(subject: dict[str, str]) -> None:
    assert len(unfit(document("1000 tokens/min", **subject))) == 1


async def test_doctor_says_so_of_what_callers_have(make_world: Any) -> None:
    world = await asyncio.to_thread(make_world, limits=("1000 tokens/min, burst 5",))
    await asyncio.to_thread(world.alias)
    async with connect_async(world.engines.redis_url, deadline=30, connect_deadline=30) as redis:
        found = [finding for finding in await limits(redis) if world.team in finding.found]
    assert [finding.state for finding in found] == ["warning"]
    assert "never fits" in found[0].found, "of whichever alias everybody may use"
