"""A mesh whose books can be read, and what must stand in them after an ending."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest

from mesh_plugins.core.ports import Sender
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import Alias, LimitRule, Provider, SnapshotDocument, Subject, Target, Team
from tests.ledger.table import ENDINGS, Doors

_SLOTS, _TOKENS = 6, 1_000_000
_OPERATIONS = ("chat", "embeddings", "responses", "text_completion")


def ledger(provider: StandInProvider, sender: Sender | None = None) -> MemoryMesh:
    """A team with few slots and many tokens; alias ``fast`` speaks OpenAI's format, ``claude`` its own."""

    def alias(name: str, vendor: str) -> Alias:
        target = Target(id=f"x-{name}", provider=vendor, model=f"{name}-1")
        return Alias(id=f"a-{name}", name=name, operations=_OPERATIONS, targets=(target,))

    def rule(name: str, dimension: Any, limit: Limit) -> LimitRule:
        team = Subject(team="team")
        return LimitRule(id=name, subject=team, dimension=dimension, limit=limit, text=name, label="team")

    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(id="o", name="openai", kind="openai", base_url=provider.base_url),
            Provider(id="a", name="anthropic", kind="anthropic", base_url=provider.anthropic_url),
        ),
        aliases=(alias("fast", "o"), alias("claude", "a")),
        limits=(
            rule("slots", "concurrency", Limit(amount=_SLOTS, period_us=60_000_000, kind="slots")),
            # A token refills in 16 minutes: what is left tells what was taken.
            rule("tokens", "tokens", Limit(amount=_TOKENS, period_us=10**15, burst=_TOKENS)),
        ),
    )
    return MemoryMesh(document=document, sender=sender)


async def _written(mesh: MemoryMesh, facts: int) -> None:
    """Give an event loop the turns it needs to close what nobody holds any more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while len(mesh.facts) < facts:  # noqa: ASYNC110 - the loop's own turns are what is waited for
                await asyncio.sleep(0.005)


async def audited(name: str, doors: Doors, mesh: MemoryMesh, provider: StandInProvider) -> None:
    """Play an ending, and read the books."""
    ending = ENDINGS[name]
    charges = mesh._engine.plan(mesh.request("chat", "fast", {"messages": []})).charges
    if asyncio.iscoroutinefunction(ending.play):
        played = ending.play(doors, provider)
        assert isinstance(played, Awaitable)
        await played
    else:
        await asyncio.to_thread(ending.play, doors, provider)

    await _written(mesh, len(ending.outcomes))
    assert sorted(fact.outcome for fact in mesh.facts) == ending.outcomes
    assert len({fact.id for fact in mesh.facts}) == len(mesh.facts)
    for fact in mesh.facts:
        # What the provider did not say is ours, and marked as such; what was not billed is nobody's.
        ours = fact.outcome != "ok" or not ending.told
        assert fact.estimated == (ours and fact.input_tokens + fact.output_tokens > 0), fact
    assert not mesh.memory.open_intents
    left = mesh.limiter.peek(charges).remaining
    standing = {charge.limit.kind: there for charge, there in zip(charges, left, strict=True)}
    assert standing["slots"] == _SLOTS, "a slot is still held"
    spent = sum(fact.input_tokens + fact.output_tokens for fact in mesh.facts)
    assert standing["rate"] == pytest.approx(_TOKENS - spent, abs=1), "the limit and the facts disagree"

    def expected(provider: StandInProvider) -> int:
        # On a busy machine a short deadline may pass before anything was sent.
        return min(ending.aborted, provider.count) if "timeout" in ending.outcomes else ending.aborted

    def let_go(provider: StandInProvider) -> bool:
        return provider.aborted >= expected(provider)

    assert await asyncio.to_thread(provider.wait_for, let_go), "a connection hangs at the provider"
    assert provider.aborted == expected(provider)
