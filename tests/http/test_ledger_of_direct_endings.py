"""However a direct call ends, over whatever transport: see `tests.ledger`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from mesh_plugins import Mesh
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.transport import Transport
from mesh_plugins.testing.provider import StandInProvider
from tests.ledger import ENDINGS, audited, ledger


@pytest.fixture(scope="module")
def one_provider() -> Any:
    with StandInProvider() as running:
        yield running


class Direct:
    """The direct caller's own verbs."""

    def __init__(self, mesh: Any, alias: str) -> None:
        self._mesh: Mesh = mesh
        self._alias = alias

    def call(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return self._mesh.chat(*self._asking(text), timeout_s=deadline_s, max_tokens=50)

    async def acall(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self._mesh.achat(*self._asking(text), timeout_s=deadline_s, max_tokens=50)

    def stream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return self._mesh.stream(*self._asking(text), timeout_s=deadline_s, max_tokens=50)

    async def astream(self, text: str = "one two", deadline_s: float | None = None) -> Any:
        return await self._mesh.astream(*self._asking(text), timeout_s=deadline_s, max_tokens=50)

    def _asking(self, text: str) -> tuple[str, list[dict[str, str]]]:
        return self._alias, [{"role": "user", "content": text}]


WAYS = [("default", "fast"), ("default", "claude"), ("httpx", "fast")]


@pytest.mark.parametrize(("transport", "alias"), WAYS, ids=str, indirect=["transport"])
@pytest.mark.parametrize("name", ENDINGS)
async def test_one_fact_nothing_reserved_nothing_hanging(
    name: str, alias: str, transport: Transport, one_provider: StandInProvider
) -> None:
    one_provider.clear()
    sender = DirectSender(transport)
    mesh = ledger(one_provider, sender)
    try:
        await audited(name, Direct(mesh, alias), mesh, one_provider)
    finally:
        await sender.aclose()


VERBS: dict[str, tuple[int, Any]] = {
    "embed": (1, lambda mesh: mesh.embed("fast", ["one", "two"])),
    "aembed": (1, lambda mesh: mesh.aembed("fast", "one")),
    "responses": (1, lambda mesh: mesh.responses("fast", "one")),
    "aresponses": (1, lambda mesh: mesh.aresponses("fast", "one")),
    "map": (3, lambda mesh: mesh.map("fast", ["one", "two", "three"])),
    "amap": (3, lambda mesh: mesh.amap("fast", ["one", "two", "three"])),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_every_other_verb_leaves_a_fact_a_call(verb: str, one_provider: StandInProvider) -> None:
    one_provider.clear()
    count, call = VERBS[verb]
    sender = DirectSender()
    mesh = ledger(one_provider, sender)
    answer = call(mesh)
    if isinstance(answer, Awaitable):
        answer = await answer
    assert answer
    assert [fact.outcome for fact in mesh.facts] == ["ok"] * count
    assert all(fact.input_tokens > 0 and not fact.estimated for fact in mesh.facts)
    assert not mesh.memory.open_intents
    assert one_provider.count == count
    await sender.aclose()
