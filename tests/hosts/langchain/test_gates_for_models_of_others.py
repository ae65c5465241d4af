"""Gates over models of others: what they can do, and what they say they can't."""

from __future__ import annotations

import asyncio
import gc
import itertools
from uuid import uuid4

import anthropic
import msgspec
import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from mesh_plugins import QuotaExceeded
from mesh_plugins.core.context import governed
from mesh_plugins.hosts.langchain import ChatMesh, MeshCallbackHandler, MeshMiddleware, MeshRateLimiter
from mesh_store.model import keys
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


NUMBERS = itertools.count()


async def through(door, model):
    """Ask a model through one of its doors."""
    match door:
        case "invoke":
            model.invoke("hi")
        case "stream":
            list(model.stream("hi"))
        case "batch":
            model.batch(["hi"])
        case "ainvoke":
            await model.ainvoke("hi")
        case "astream":
            [chunk async for chunk in model.astream("hi")]


@pytest.fixture
def others(provider):
    """A model Mesh did not make."""

    def make(**options):
        defaults = {"model": "fast-1", "base_url": provider.base_url, "api_key": "sk-x", "max_retries": 0}
        return ChatOpenAI(**{**defaults, **options})

    return make


class TestHandlerOverAnthropics:
    @pytest.fixture
    async def theirs(self, provider):
        made = []

        def make(**options):
            options = {"model": "claude-1", "base_url": provider.anthropic_url, "api_key": "sk-x"} | options
            # Models that are alike share an async client, and the loop it began on: none are alike here.
            alone = 60 + next(NUMBERS)
            made.append(ChatAnthropic(**options, max_retries=0, max_tokens=20, timeout=alone))
            return made[-1]

        yield make
        for model in made:
            await model._async_client.close()

    async def test_counts_calls_at_what_the_model_says(self, mesh, theirs):
        model = theirs(callbacks=[MeshCallbackHandler("claude", mesh=mesh)])
        said = model.invoke("one two three").usage_metadata
        await model.ainvoke("one two three")
        assert [(fact.outcome, fact.alias) for fact in mesh.facts] == [("ok", "claude")] * 2
        used = {(fact.input_tokens, fact.output_tokens, fact.estimated) for fact in mesh.facts}
        assert used == {(said["input_tokens"], said["output_tokens"], False)}
        assert not mesh.memory.open_intents

    async def test_estimates_the_input_of_streams_whose_end_does_not_repeat_it(self, mesh, theirs):
        model = theirs(callbacks=[MeshCallbackHandler("claude", mesh=mesh)])
        chunks = list(model.stream("one two three"))
        [chunk async for chunk in model.astream("one two three")]
        assert sum(chunk.usage_metadata["input_tokens"] for chunk in chunks if chunk.usage_metadata) == 0
        written = sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata)
        for fact in mesh.facts:
            assert (fact.outcome, fact.output_tokens, fact.estimated) == ("ok", written, True)
            assert fact.input_tokens > 0
        assert not mesh.memory.open_intents

    def test_text_that_took_no_tokens_is_counted_by_its_length(self, mesh, theirs, provider):
        provider.script("claude-lies", usage={"input_tokens": 3, "output_tokens": 0})
        model = theirs(model="claude-lies", callbacks=[MeshCallbackHandler("claude", mesh=mesh)])
        assert model.invoke("one two three").usage_metadata["output_tokens"] == 0
        [fact] = mesh.facts
        assert fact.output_tokens > 0
        assert (fact.estimated, fact.flags) == (True, ("usage_suspect",))

    @pytest.mark.parametrize("door", ["invoke", "stream", "batch", "ainvoke", "astream"])
    def test_refuses_at_every_door_and_no_request_is_sent(self, make_mesh, theirs, provider, door):
        mesh = make_mesh(limits=(rule(),))
        model = theirs(callbacks=[MeshCallbackHandler("claude", mesh=mesh)])
        model.invoke("takes it all")
        before = provider.count
        with pytest.raises(QuotaExceeded):
            asyncio.run(through(door, model))
        assert provider.count == before

    def test_counts_a_failed_call_as_failed(self, mesh, theirs):
        model = theirs(model="claude-1?status=529", callbacks=[MeshCallbackHandler("claude", mesh=mesh)])
        with pytest.raises(anthropic.APIStatusError):
            model.invoke("hi")
        assert [(fact.outcome, fact.status) for fact in mesh.facts] == [("error", 529)]

    def test_counts_a_stream_that_was_given_up(self, mesh, theirs):
        for _ in theirs(callbacks=[MeshCallbackHandler("claude", mesh=mesh)]).stream("one two three four"):
            break
        gc.collect()
        assert [(fact.outcome, fact.estimated) for fact in mesh.facts] == [("abandoned", True)]
        assert not mesh.memory.open_intents


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
        with pytest.raises(QuotaExceeded):
            asyncio.run(through(door, others().with_config(config)))
        assert provider.count == before

    def test_counts_a_failed_call_as_failed(self, mesh, others, provider):
        handler = MeshCallbackHandler("fast", mesh=mesh)
        with pytest.raises(Exception, match="scripted failure"):
            others(model="fast-1?status=500").invoke("hi", config={"callbacks": [handler]})
        assert [(f.outcome, f.status) for f in mesh.facts] == [("error", 500)]
        assert not mesh.memory.open_intents

    def test_counts_a_stream_that_was_given_up(self, mesh, others):
        handler = MeshCallbackHandler("fast", mesh=mesh)
        for chunk in others(stream_usage=True).stream("one two three four", config={"callbacks": [handler]}):
            if chunk.content:
                break
        gc.collect()
        assert [(f.outcome, f.estimated) for f in mesh.facts] == [("abandoned", True)]
        assert mesh.facts[0].output_tokens > 0
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

    def test_a_call_that_is_governed_already_is_left_alone(self, mesh, others):
        with governed():
            others(callbacks=[MeshCallbackHandler("fast", mesh=mesh)]).invoke("hi")
        others(model="mesh/fast", callbacks=[MeshCallbackHandler("fast", mesh=mesh)]).invoke("hi")
        assert not mesh.facts

    @pytest.mark.parametrize("cap", [{"max_tokens": 7}, {"max_completion_tokens": 7}])
    def test_what_a_call_may_generate_bounds_what_it_reserves(self, mesh, others, cap):
        others(callbacks=[MeshCallbackHandler("fast", mesh=mesh)], **cap).invoke("hi")
        others(callbacks=[MeshCallbackHandler("fast", mesh=mesh)]).invoke("hi")
        capped, free = (fact.estimate_tokens for fact in mesh.facts)
        assert capped < 100 < free

    def test_a_fact_says_what_answered_and_how_it_ended(self, mesh, others):
        answer = others(callbacks=[MeshCallbackHandler("fast", mesh=mesh)]).invoke("hi").response_metadata
        [fact] = mesh.facts
        assert (fact.response_model, fact.finish_reason) == (answer["model_name"], "stop")

    def test_of_several_answers_none_is_believed_where_one_cannot_be_true(self, mesh):
        def answer(written):
            usage = {"input_tokens": 3, "output_tokens": written, "total_tokens": 3 + written}
            return ChatGeneration(message=AIMessage("many words", usage_metadata=usage))

        handler, run = MeshCallbackHandler("fast", mesh=mesh), uuid4()
        handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run)
        handler.on_llm_end(LLMResult(generations=[[answer(1)], [answer(0)]]), run_id=run)
        [fact] = mesh.facts
        assert (fact.estimated, fact.flags, fact.output_tokens) == (True, ("usage_suspect",), 5)

    def test_its_key_says_who_calls_and_its_tags_are_in_the_facts(self, mesh, others):
        other, entry = keys.mint(), next(iter(mesh.config.entries.values()))
        mesh.config.entries[other.digest] = msgspec.structs.replace(entry, id=other.id)
        handler = MeshCallbackHandler("fast", mesh=mesh, key=other.text, tags={"job": "nightly"})
        others(callbacks=[handler]).invoke("hi")
        assert [(fact.key_id, fact.tags) for fact in mesh.facts] == [(other.id, {"job": "nightly"})]

    def test_the_first_token_is_noted_at_once_on_the_thread_that_reads_it(self, mesh):
        handler, run = MeshCallbackHandler("fast", mesh=mesh), uuid4()
        handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run)
        handler.on_llm_new_token("one", run_id=run)
        handler.on_llm_error(GeneratorExit(), run_id=run)
        assert [(fact.stream, fact.ttft_us is not None) for fact in mesh.facts] == [(True, True)]

    def test_a_stream_is_called_one(self, mesh, others):
        model = others(callbacks=[MeshCallbackHandler("fast", mesh=mesh)])
        model.invoke("hi")
        list(model.stream("hi"))
        asyncio.run(through("astream", model))
        told = [(fact.stream, fact.ttft_us is not None) for fact in mesh.facts]
        assert told == [(False, False), (True, True), (True, True)]

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
