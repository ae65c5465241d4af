"""Handler, rate limiter and middleware over `ChatOpenAI`: what they can do, and what they say they can't."""

from __future__ import annotations

import asyncio
import gc

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from mesh_plugins import QuotaExceeded
from mesh_plugins.hosts.langchain import ChatMesh, MeshCallbackHandler, MeshMiddleware, MeshRateLimiter
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import LimitRule, Subject


def rule(amount=1, dimension="requests"):
    return LimitRule(
        id=f"l-{dimension}",
        subject=Subject(team="team"),
        dimension=dimension,
        limit=Limit(amount=amount, period_us=3_600_000_000),
        text=f"{amount} {dimension}/hour",
        label="team team",
    )


@pytest.fixture
def others(provider):
    """A model Mesh did not make."""

    def make(**options):
        defaults = {"model": "fast-1", "base_url": provider.base_url, "api_key": "sk-x", "max_retries": 0}
        return ChatOpenAI(**{**defaults, **options})

    return make


class TestHandler:
    def test_counts_a_call_at_what_the_model_says(self, mesh, others):
        handler = MeshCallbackHandler("fast", mesh=mesh)
        answer = others().invoke("one two three", config={"callbacks": [handler]})
        [fact] = mesh.facts
        assert (fact.outcome, fact.host) == ("ok", "langchain")
        assert fact.input_tokens == answer.usage_metadata["input_tokens"]
        assert not fact.estimated
        assert not mesh.memory.open_intents

    @pytest.mark.parametrize("door", ["invoke", "stream", "batch", "ainvoke", "astream"])
    def test_refuses_at_every_door_and_no_request_is_sent(self, make_mesh, others, provider, door):
        mesh = make_mesh(limits=(rule(),))
        handler = MeshCallbackHandler("fast", mesh=mesh)
        config = {"callbacks": [handler]}
        others().invoke("takes it all", config=config)
        before = provider.count

        async def through():
            match door:
                case "invoke":
                    others().invoke("hi", config=config)
                case "stream":
                    list(others().stream("hi", config=config))
                case "batch":
                    others().batch(["hi"], config=config)
                case "ainvoke":
                    await others().ainvoke("hi", config=config)
                case "astream":
                    [chunk async for chunk in others().astream("hi", config=config)]

        with pytest.raises(QuotaExceeded):
            asyncio.run(through())
        assert provider.count == before

    def test_counts_a_failed_call_as_failed(self, mesh, others, provider):
        handler = MeshCallbackHandler("fast", mesh=mesh)
        with pytest.raises(Exception, match="scripted failure"):
            others(model="fast-1?status=500").invoke("hi", config={"callbacks": [handler]})
        assert [(f.outcome, f.status) for f in mesh.facts] == [("error", 500)]
        assert not mesh.memory.open_intents

    def test_counts_a_stream_that_was_given_up(self, mesh, others):
        handler = MeshCallbackHandler("fast", mesh=mesh)
        for _ in others(stream_usage=True).stream("one two three four", config={"callbacks": [handler]}):
            break
        gc.collect()
        assert [(f.outcome, f.estimated) for f in mesh.facts] == [("abandoned", True)]
        assert not mesh.memory.open_intents

    def test_an_answer_from_langchains_cache_costs_nothing(self, mesh, others):
        handler, cache = MeshCallbackHandler("fast", mesh=mesh), InMemoryCache()
        for _ in range(2):
            others(cache=cache).invoke("again", config={"callbacks": [handler]})
        assert [fact.output_tokens > 0 for fact in mesh.facts] == [True, False]

    def test_over_chat_mesh_the_call_is_charged_once(self, mesh):
        handler = MeshCallbackHandler(mesh=mesh)
        ChatMesh(model="fast", mesh=mesh).invoke("hi", config={"callbacks": [handler]})
        assert len(mesh.facts) == 1

    def test_the_models_own_name_is_the_alias_when_none_is_given(self, mesh, others):
        others(model="fast").invoke("hi", config={"callbacks": [MeshCallbackHandler(mesh=mesh)]})
        assert mesh.facts[0].alias == "fast"


class TestRateLimiter:
    def test_refuses_by_raising_because_its_answer_is_ignored(self, make_mesh, others, provider):
        mesh = make_mesh(limits=(rule(),))
        limiter = MeshRateLimiter("fast", mesh=mesh, max_wait_s=0.001)
        others(rate_limiter=limiter).invoke("takes it all")
        before = provider.count
        with pytest.raises(QuotaExceeded):
            others(rate_limiter=limiter).invoke("hi")
        with pytest.raises(QuotaExceeded):
            asyncio.run(others(rate_limiter=limiter).ainvoke("hi"))
        assert provider.count == before

    def test_counts_requests_only(self, make_mesh):
        mesh = make_mesh(limits=(rule(1, "tokens"),))
        limiter = MeshRateLimiter("fast", mesh=mesh)
        assert all(limiter.acquire(blocking=False) for _ in range(5))

    def test_waits_its_turn_for_room(self, make_mesh):
        fast = LimitRule(
            id="l",
            subject=Subject(team="team"),
            dimension="requests",
            limit=Limit(amount=1, period_us=20_000),
            text="1 per 20 ms",
            label="team team",
        )
        mesh = make_mesh(limits=(fast,))
        limiter = MeshRateLimiter("fast", mesh=mesh)
        assert all(limiter.acquire() for _ in range(3))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class TestAgents:
    def test_an_agent_runs_on_an_alias(self, mesh):
        agent = create_agent(ChatMesh(model="fast", mesh=mesh), tools=[])
        result = agent.invoke({"messages": [HumanMessage("hello")]})
        assert "hello" in result["messages"][-1].content
        assert len(mesh.facts) == 1

    def test_middleware_sends_an_agents_calls_through_an_alias(self, mesh, others, provider):
        agent = create_agent(
            others(base_url="http://127.0.0.1:9/v1"), middleware=[MeshMiddleware("slow", mesh=mesh)]
        )
        agent.invoke({"messages": [HumanMessage("hello")]})
        assert provider.requests[-1].json["model"] == "slow-1"
        assert [fact.alias for fact in mesh.facts] == ["slow"]

    async def test_middleware_works_on_an_event_loop_too(self, mesh, others):
        agent = create_agent(
            others(base_url="http://127.0.0.1:9/v1"), middleware=[MeshMiddleware("fast", mesh=mesh)]
        )
        await agent.ainvoke({"messages": [HumanMessage("hello")]})
        assert len(mesh.facts) == 1
