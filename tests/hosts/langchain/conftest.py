"""A mesh in memory whose aliases point at a stand-in provider over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh_plugins.http.sender import DirectSender
from mesh_plugins.testing.memory import MemoryMesh
from mesh_plugins.testing.provider import StandInProvider
from mesh_store.model.snapshot import Alias, Provider, SnapshotDocument, Target, Team


@pytest.fixture(scope="session")
def provider() -> Iterator[StandInProvider]:
    with StandInProvider() as provider:
        yield provider


def over(provider: StandInProvider, *, now_us: Callable[[], int] | None = None, **changes: Any) -> MemoryMesh:
    """Aliases: ``fast`` and ``slow`` speak OpenAI's format, ``claude`` Anthropic's."""
    operations = ("chat", "embeddings", "responses", "text_completion")

    def alias(name: str, vendor: str, model: str) -> Alias:
        target = Target(id=f"x-{name}", provider=vendor, model=model)
        return Alias(id=f"a-{name}", name=name, operations=operations, targets=(target,))

    document = SnapshotDocument(
        epoch="test",
        revision=1,
        compiled_at_us=0,
        teams=(Team("team", "team"),),
        providers=(
            Provider(id="o", name="openai", kind="openai", base_url=provider.base_url),
            Provider(id="a", name="anthropic", kind="anthropic", base_url=provider.anthropic_url),
        ),
        aliases=(
            alias("fast", "o", "fast-1"),
            alias("slow", "o", "slow-1"),
            alias("claude", "a", "claude-1"),
        ),
        **changes,
    )
    return MemoryMesh(document=document, sender=DirectSender(), now_us=now_us)


@pytest.fixture(scope="session")
def shared(provider: StandInProvider) -> MemoryMesh:
    return over(provider)


@pytest.fixture
def mesh(provider: StandInProvider) -> MemoryMesh:
    return over(provider)


@pytest.fixture
def make_mesh(provider: StandInProvider) -> Any:
    return lambda **changes: over(provider, **changes)
