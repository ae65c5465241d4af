"""Denials and failures reach whoever asked, through batches, chains and agents."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from mesh_plugins import ConfigError, MeshError, ProviderError, QuotaExceeded
from mesh_plugins.hosts.langchain import ChatMesh
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import LimitRule, Subject

ASK = "one two three four"


class Weather(BaseModel):
    """Say what the weather is."""

    city: str


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"sunny in {city}"


def sent(provider: Any) -> Any:
    return provider.requests[-1].json


@pytest.fixture
def model(mesh: Any, provider: Any) -> ChatMesh:
    provider.clear()
    return ChatMesh(model="fast", mesh=mesh)


def requests(amount: int) -> LimitRule:
    return LimitRule(
        id="l",
        subject=Subject(team="team"),
        dimension="requests",
        limit=Limit(amount=amount, period_us=36_000_000_000_000, burst=amount),
        text=f"{amount} requests",
        label="team team",
    )


class TestDenialsAndFailures:
    async def test_a_batch_keeps_what_went_well_beside_what_was_refused(self, make_mesh, provider):
        provider.clear()
        mesh = make_mesh(limits=(requests(3),))
        model = ChatMesh(model="fast", mesh=mesh)
        told = await model.abatch(["hi"] * 5, return_exceptions=True)
        assert sum(isinstance(each, QuotaExceeded) for each in told) == 2
        assert sum(not isinstance(each, Exception) for each in told) == 3
        assert provider.count == 3
        # The second refusal is the first one over again: no further fact.
        assert sorted(fact.outcome for fact in mesh.facts) == ["denied", "ok", "ok", "ok"]
        assert not mesh.memory.open_intents

    async def test_a_batch_tells_a_provider_that_fails_from_a_refusal(self, make_mesh, provider):
        provider.clear()
        provider.script("fast-1", status=400, times=1)
        mesh = make_mesh(limits=(requests(2),))
        model = ChatMesh(model="fast", mesh=mesh)
        told = await model.abatch(["hi"] * 3, config={"max_concurrency": 1}, return_exceptions=True)
        assert [type(each).__name__ for each in told] == ["ProviderError", "AIMessage", "QuotaExceeded"]
        assert [fact.outcome for fact in mesh.facts] == ["error", "ok", "denied"]

    async def test_retries_ask_again_after_a_failure_and_never_after_a_refusal(self, make_mesh, provider):
        provider.clear()
        provider.script("fast-1", status=400, times=1)
        mesh = make_mesh(limits=(requests(2),))
        model = ChatMesh(model="fast", mesh=mesh).with_retry(
            retry_if_exception_type=(ProviderError,), wait_exponential_jitter=False, stop_after_attempt=3
        )
        assert (await model.ainvoke("hi")).content
        assert provider.count == 2
        with pytest.raises(QuotaExceeded):
            await model.ainvoke("hi")
        assert provider.count == 2
        assert [fact.outcome for fact in mesh.facts] == ["error", "ok", "denied"]

    async def test_a_fallback_stands_in_for_a_failure_and_not_for_a_refusal(self, make_mesh, provider):
        provider.clear()
        provider.script("fast-1", status=400, times=1)
        mesh = make_mesh(limits=(requests(2),))
        model = ChatMesh(model="fast", mesh=mesh)
        safe = model.with_fallbacks([model.bind(model="slow")], exceptions_to_handle=(ProviderError,))
        assert "slow-1" in (await safe.ainvoke("hi")).content
        with pytest.raises(QuotaExceeded):
            await safe.ainvoke("hi")
        with pytest.raises(QuotaExceeded):
            _ = [chunk async for chunk in safe.astream("hi")]
        assert provider.count == 2

    async def test_events_left_in_the_middle_end_their_call(self, model, mesh):
        events = model.astream_events("one two three four", version="v2")
        async for event in events:
            if event["event"] == "on_chat_model_stream":
                break
        await events.aclose()
        for _ in range(1_000):
            if mesh.facts:
                break
            await asyncio.sleep(0.01)
        assert [fact.outcome for fact in mesh.facts] in (["cancelled"], ["abandoned"])
        assert not mesh.memory.open_intents

    async def test_an_error_kept_for_later_keeps_no_call_open(self, model, mesh):
        astream, stream = model._astream([HumanMessage(ASK)]), model._stream([HumanMessage(ASK)])
        await anext(astream)
        with pytest.raises(ZeroDivisionError) as first:
            await astream.athrow(ZeroDivisionError())
        await asyncio.to_thread(next, stream)
        with pytest.raises(ZeroDivisionError) as second:
            await asyncio.to_thread(stream.throw, ZeroDivisionError())
        assert first.tb is not second.tb, "their frames hold what was open in them"
        assert len(mesh.facts) == 2
        assert not mesh.memory.open_intents

    def test_a_stream_handed_to_a_thread_that_drops_it(self, model, mesh):
        held = [model.stream("one two three four")]
        next(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        assert [fact.outcome for fact in mesh.facts] == ["abandoned"]


class TestAgents:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    def test_a_budget_that_ends_in_the_middle_of_a_run_ends_it_cleanly(self, make_mesh, provider, colour):
        from langchain.agents import create_agent

        provider.clear()
        mesh = make_mesh(limits=(requests(1),))
        agent = create_agent(ChatMesh(model="fast", mesh=mesh), tools=[weather])
        asked = {"messages": [HumanMessage("what is the weather in Paris?")]}
        with pytest.raises(QuotaExceeded, match="1 requests") as refused:
            if colour == "sync":
                agent.invoke(asked)
            else:
                asyncio.run(agent.ainvoke(asked))
        assert isinstance(refused.value, MeshError)
        assert not isinstance(refused.value, ConfigError)
        assert [fact.outcome for fact in mesh.facts] == ["ok", "denied"]
        assert provider.count == 1
        assert not mesh.memory.open_intents

    def test_a_graph_says_where_it_stopped_and_goes_on_when_there_is_room(self, make_mesh, provider, caplog):
        from langchain.agents import create_agent
        from langgraph.checkpoint.memory import InMemorySaver

        provider.clear()
        now = [1_000_000_000]
        mesh = make_mesh(limits=(requests(1),), now_us=lambda: now[0])
        agent = create_agent(ChatMesh(model="fast", mesh=mesh), tools=[weather], checkpointer=InMemorySaver())
        thread = {"configurable": {"thread_id": "1"}}
        with pytest.raises(QuotaExceeded):
            agent.invoke({"messages": [HumanMessage("what is the weather in Paris?")]}, thread)
        assert agent.get_state(thread).next == ("model",)
        now[0] += 36_000_000_000_000
        result = agent.invoke(None, thread)
        assert result["messages"][-1].content
        assert [fact.outcome for fact in mesh.facts] == ["ok", "denied", "ok"]
        assert not [told for told in caplog.messages if "unregistered" in told], (
            "a message no checkpoint knows"
        )
