"""Under LangChain, too: cancelled at every single await, a call has one ending and nothing stays reserved."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from mesh_plugins.hosts.langchain import ChatMesh, MeshEmbeddings, MeshMiddleware
from mesh_plugins.testing.memory import MemoryMesh
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import LimitRule, Subject
from tests.faults.cutting import Cut, Watched

SLOTS, TOKENS = 6, 1_000_000
ASK = "one two three"
Play = Callable[[MemoryMesh], Coroutine[Any, Any, None]]


class Turning:
    """A limiter that lets the event loop turn around each decision, as one over a network does."""

    def __init__(self, limiter: Any) -> None:
        self._limiter = limiter

    async def reserve(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        decision = await self._limiter.reserve(*args, **options)
        await asyncio.sleep(0)
        return decision


class Watching:
    """A mesh in the middle of LangChain's tasks: each await of its own is told to ``waits``."""

    def __init__(self, mesh: MemoryMesh, waits: Callable[[], None]) -> None:
        self._mesh, self._waits = mesh, waits
        self.async_sender = mesh.async_sender

    async def arequest(self, *args: Any, **options: Any) -> Any:
        return await Watched(self._mesh.arequest(*args, **options), self._waits)

    async def acall(self, *args: Any) -> Any:
        return await Watched(self._mesh.acall(*args), self._waits)

    async def astream_call(self, *args: Any) -> Any:
        return WatchedStream(await Watched(self._mesh.astream_call(*args), self._waits), self._waits)


class WatchedStream:
    def __init__(self, stream: Any, waits: Callable[[], None]) -> None:
        self._stream, self._waits = stream, waits

    async def __aenter__(self) -> Any:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stream.__aexit__(*exc)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await Watched(self._stream.__anext__(), self._waits)

    @property
    def receipt(self) -> Any:
        return self._stream.receipt


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"sunny in {city}"


async def ainvoke(mesh: MemoryMesh) -> None:
    await ChatMesh(model="fast", mesh=mesh).ainvoke(ASK)


async def over_anthropic(mesh: MemoryMesh) -> None:
    await ChatMesh(model="claude", mesh=mesh).ainvoke(ASK)


async def astream(mesh: MemoryMesh) -> None:
    async for _ in ChatMesh(model="fast", mesh=mesh).astream(ASK):
        pass


async def astream_events(mesh: MemoryMesh) -> None:
    chain = RunnableLambda(lambda text: text) | ChatMesh(model="fast", mesh=mesh)
    async for _ in chain.astream_events(ASK, version="v2"):
        pass


async def abatch(mesh: MemoryMesh) -> None:
    await ChatMesh(model="fast", mesh=mesh).abatch([ASK] * 2)


async def embeddings(mesh: MemoryMesh) -> None:
    await MeshEmbeddings(model="fast", mesh=mesh, batch_size=1).aembed_documents(["one", "two"])


async def agent(mesh: MemoryMesh) -> None:
    asked = create_agent(ChatMesh(model="fast", mesh=mesh), tools=[weather])
    await asked.ainvoke({"messages": [HumanMessage("what is the weather?")]})


async def middleware(mesh: MemoryMesh) -> None:
    nowhere = ChatOpenAI(model="x", base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=0)
    asked = create_agent(nowhere, middleware=[MeshMiddleware("fast", mesh=mesh)])
    await asked.ainvoke({"messages": [HumanMessage(ASK)]})


@pytest.fixture
def governed(make_mesh: Any, provider: Any) -> MemoryMesh:
    provider.clear()
    team = Subject(team="team")

    def rule(name: str, dimension: Any, limit: Limit) -> LimitRule:
        return LimitRule(id=name, subject=team, dimension=dimension, limit=limit, text=name, label="team")

    slots = Limit(amount=SLOTS, period_us=600_000_000, kind="slots")
    tokens = Limit(amount=TOKENS, period_us=10**15, burst=TOKENS)  # a token refills in 16 minutes
    mesh: MemoryMesh = make_mesh(limits=(rule("s", "concurrency", slots), rule("t", "tokens", tokens)))
    mesh.async_limiter = Turning(mesh.async_limiter)  # type: ignore[assignment]
    return mesh


@pytest.mark.parametrize(
    "play",
    [ainvoke, over_anthropic, astream, astream_events, abatch, embeddings, agent, middleware],
    ids=lambda play: play.__name__,
)
async def test_at_every_await_one_after_the_other(play: Play, governed: MemoryMesh, provider: Any) -> None:
    plan = governed._engine.plan(governed.request("chat", "fast", {"messages": [], "max_tokens": 50}))
    await play(governed)  # what is made once is made now
    at, cut = 1, Cut(1)
    while await cut.run(play(Watching(governed, cut))):  # type: ignore[arg-type]
        if governed.memory.open_intents:
            gc.collect()  # takes most of the time here, and is seldom needed
        assert not governed.memory.open_intents, f"cancelled at await {at}, a call is still open"
        at += 1
        cut = Cut(at)
        assert at < 1_000, "so many awaits are none"
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}

    assert at > 3, "hardly an await"
    told = {fact.outcome for fact in governed.facts}
    assert told <= {"ok", "cancelled", "abandoned"}
    assert "ok" in told
    assert told & {"cancelled", "abandoned"}
    assert len({fact.id for fact in governed.facts}) == len(governed.facts)
    assert len({fact.call_id for fact in governed.facts}) == len(governed.facts), "a call ended twice"
    assert provider.count <= len(governed.facts), "a request without a fact"
    left = governed.limiter.peek(plan.charges).remaining
    kinds = {charge.limit.kind: units for charge, units in zip(plan.charges, left, strict=True)}
    spent = sum(fact.input_tokens + fact.output_tokens for fact in governed.facts)
    assert kinds["slots"] == SLOTS, "a slot is still held"
    assert kinds["rate"] == pytest.approx(TOKENS - spent, abs=1), "the limit and the facts disagree"
