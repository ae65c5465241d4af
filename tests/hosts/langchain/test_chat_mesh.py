"""`ChatMesh` on the wire and in the ledger: the standard suites alone would let much slip."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel, SecretStr

from mesh_plugins import AccessDenied, ProviderError, QuotaExceeded, UnknownAlias
from mesh_plugins.hosts.langchain import ChatMesh
from mesh_store.model import keys
from mesh_store.model.limits import Limit
from mesh_store.model.snapshot import LimitRule, Subject


class Weather(BaseModel):
    """Say what the weather is."""

    city: str


def sent(provider):
    return provider.requests[-1].json


class TestOnTheWire:
    def test_the_targets_model_and_the_models_parameters_are_sent(self, mesh, provider):
        model = ChatMesh(model="fast", mesh=mesh, temperature=0.5, max_tokens=9, stop=["END"], seed=3)
        model.invoke([SystemMessage("be brief"), HumanMessage("hi")])
        body = sent(provider)
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("fast-1", 0.5, 9)
        assert (body["stop"], body["seed"]) == (["END"], 3)
        assert [m["role"] for m in body["messages"]] == ["system", "user"]
        assert "mesh" not in str(body)

    def test_a_calls_own_stop_and_model_go_over_the_models(self, mesh, provider):
        ChatMesh(model="fast", mesh=mesh, stop=["END"]).invoke("hi", stop=["STOP"], model="slow")
        assert (sent(provider)["stop"], sent(provider)["model"]) == (["STOP"], "slow-1")

    def test_tools_and_their_results_go_both_ways(self, mesh, provider):
        model = ChatMesh(model="fast", mesh=mesh).bind_tools([Weather], tool_choice="Weather")
        answer = model.invoke("weather in Paris?")
        assert sent(provider)["tools"][0]["function"]["name"] == "Weather"
        assert sent(provider)["tool_choice"] == {"type": "function", "function": {"name": "Weather"}}
        call = answer.tool_calls[0]
        model.invoke([HumanMessage("weather?"), answer, ToolMessage("sunny", tool_call_id=call["id"])])
        assert [m["role"] for m in sent(provider)["messages"]] == ["user", "assistant", "tool"]

    def test_images_are_sent_as_the_provider_knows_them(self, mesh, provider):
        image = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
        ChatMesh(model="fast", mesh=mesh).invoke([HumanMessage([{"type": "text", "text": "what?"}, image])])
        parts = sent(provider)["messages"][0]["content"]
        assert parts[1]["image_url"]["url"] == "data:image/png;base64,aGk="

    def test_a_json_schema_can_be_asked_for_instead_of_a_tool(self, mesh, provider):
        model = ChatMesh(model="fast", mesh=mesh).with_structured_output(Weather, method="json_schema")
        assert isinstance(model.invoke("weather in Paris?"), Weather)
        assert sent(provider)["response_format"]["json_schema"]["name"] == "Weather"

    def test_an_alias_changed_live_reaches_a_model_that_was_bound_long_ago(self, mesh, provider):
        import msgspec

        model = ChatMesh(model="fast", mesh=mesh).bind(stop=["x"])
        model.invoke("hi")
        document = mesh.config.document
        aliases = tuple(
            msgspec.structs.replace(alias, targets=document.aliases[2].targets)
            if alias.name == "fast"
            else alias
            for alias in document.aliases
        )
        mesh.config.publish(msgspec.structs.replace(document, revision=2, aliases=aliases))
        answer = model.invoke("hi")
        assert answer.response_metadata["mesh"]["target"] == "anthropic/claude-1"
        assert provider.requests[-1].path.endswith("/messages")

    def test_timeouts_are_the_calls_total_deadline(self, mesh):
        ChatMesh(model="fast", mesh=mesh, timeout=7.0).invoke("hi")
        assert mesh.sender  # the deadline is checked where it is planned:
        asked = ChatMesh(model="fast", mesh=mesh, timeout=7.0)._asked(
            [HumanMessage("x")], None, {}, stream=False
        )
        assert asked["timeout_s"] == 7.0


class TestWhatComesBack:
    def test_usage_and_what_mesh_says_of_the_call(self, mesh):
        answer = ChatMesh(model="fast", mesh=mesh).invoke("one two three")
        fact = mesh.facts[-1]
        assert answer.usage_metadata["input_tokens"] == fact.input_tokens
        assert answer.usage_metadata["output_tokens"] == fact.output_tokens
        assert answer.response_metadata["mesh"]["call_id"] == fact.call_id
        assert answer.response_metadata["model_name"] == "fast-1"

    def test_a_streams_chunks_add_up_to_the_answer_with_its_usage(self, mesh):
        model = ChatMesh(model="fast", mesh=mesh)
        total = None
        for chunk in model.stream("one two three"):
            total = chunk if total is None else total + chunk
        assert total.content == model.invoke("one two three").content
        assert total.usage_metadata["output_tokens"] == mesh.facts[0].output_tokens
        assert not mesh.facts[0].estimated

    def test_langsmith_learns_the_alias_and_the_parameters(self, mesh):
        params = ChatMesh(model="fast", mesh=mesh, temperature=0.1)._get_ls_params(stop=["x"], model="slow")
        assert params == {
            "ls_provider": "mesh",
            "ls_model_name": "slow",
            "ls_model_type": "chat",
            "ls_temperature": 0.1,
            "ls_stop": ["x"],
        }

    @pytest.mark.filterwarnings("ignore:The function `load` is in beta")
    def test_it_can_be_written_down_and_read_back_without_its_key(self, mesh):
        key = keys.mint().text
        model = ChatMesh(model="fast", mesh=mesh, key=SecretStr(key), temperature=0.5)
        written = dumpd(model)
        assert key not in str(written)
        assert key not in repr(model)
        restored = load(
            written,
            valid_namespaces=["mesh_plugins"],
            allowed_objects=[ChatMesh],
            secrets_map={"MESH_KEY": key},
        )
        assert restored.model_dump() == model.model_dump()


def rule(**limit):
    return LimitRule(
        id="l",
        subject=Subject(team="team"),
        dimension="requests",
        limit=Limit(**{"amount": 1, "period_us": 3_600_000_000, **limit}),
        text="1 request/hour",
        label="team team",
    )


class TestRefusals:
    @pytest.fixture
    def full(self, make_mesh):
        mesh = make_mesh(limits=(rule(),))
        ChatMesh(model="fast", mesh=mesh).invoke("takes it all")
        return mesh

    @pytest.mark.parametrize("door", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
    def test_at_every_door_no_request_reaches_the_provider(self, full, provider, door):
        model, before = ChatMesh(model="fast", mesh=full), provider.count

        async def through():
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
                case "abatch":
                    await model.abatch(["hi"])

        with pytest.raises(QuotaExceeded, match="1 request/hour"):
            asyncio.run(through())
        assert provider.count == before
        assert full.facts[-1].outcome == "denied"

    def test_retries_and_fallbacks_can_leave_refusals_out(self, full, provider):
        before = provider.count
        model = ChatMesh(model="fast", mesh=full)
        with pytest.raises(QuotaExceeded):
            model.with_retry(retry_if_exception_type=(ProviderError,)).invoke("hi")
        with pytest.raises(QuotaExceeded):
            model.with_fallbacks([model], exceptions_to_handle=(ProviderError,)).invoke("hi")
        assert provider.count == before

    def test_an_unknown_alias_says_so(self, mesh):
        with pytest.raises(UnknownAlias, match="fast"):
            ChatMesh(model="fats", mesh=mesh).invoke("hi")

    def test_a_forbidden_alias_says_so(self, make_mesh):
        import msgspec

        mesh = make_mesh()
        document = mesh.config.document
        closed = tuple(msgspec.structs.replace(alias, grants=()) for alias in document.aliases)
        mesh.config.publish(msgspec.structs.replace(document, aliases=closed))
        with pytest.raises(AccessDenied):
            ChatMesh(model="fast", mesh=mesh).invoke("hi")


def one_fact_and_nothing_open(mesh, outcome):
    assert [fact.outcome for fact in mesh.facts] == [outcome]
    assert not mesh.memory.open_intents


class TestEndings:
    def test_a_stream_left_by_break(self, mesh):
        for _ in ChatMesh(model="fast", mesh=mesh).stream("one two three four"):
            break
        gc.collect()
        one_fact_and_nothing_open(mesh, "abandoned")

    def test_a_stream_closed(self, mesh):
        stream = ChatMesh(model="fast", mesh=mesh).stream("one two three four")
        next(stream)
        stream.close()
        one_fact_and_nothing_open(mesh, "abandoned")

    async def test_an_async_stream_closed(self, mesh):
        stream = ChatMesh(model="fast", mesh=mesh).astream("one two three four")
        await anext(stream)
        await stream.aclose()
        one_fact_and_nothing_open(mesh, "abandoned")

    async def test_a_cancelled_ainvoke(self, mesh, provider):
        before = provider.count
        provider.script("fast-1", latency_s=30.0)
        try:
            task = asyncio.create_task(ChatMesh(model="fast", mesh=mesh).ainvoke("hi"))
            assert await asyncio.to_thread(provider.wait_for, lambda p: p.count > before)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            provider.script("fast-1")
        one_fact_and_nothing_open(mesh, "cancelled")

    async def test_a_timed_out_ainvoke(self, mesh, provider):
        provider.script("fast-1", latency_s=30.0)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ChatMesh(model="fast", mesh=mesh).ainvoke("hi"), 0.2)
        finally:
            provider.script("fast-1")
        one_fact_and_nothing_open(mesh, "cancelled")

    def test_an_exception_in_the_consumer(self, mesh):
        with pytest.raises(ZeroDivisionError):
            for _ in ChatMesh(model="fast", mesh=mesh).stream("one two three"):
                raise ZeroDivisionError
        gc.collect()
        one_fact_and_nothing_open(mesh, "abandoned")

    def test_a_stream_read_by_another_thread(self, mesh):
        stream = ChatMesh(model="fast", mesh=mesh).stream("one two three")
        thread = threading.Thread(target=lambda: list(stream))
        thread.start()
        thread.join()
        one_fact_and_nothing_open(mesh, "ok")

    def test_repeated_event_loops_never_send_a_prompt_twice(self, mesh, provider):
        model, before = ChatMesh(model="fast", mesh=mesh), provider.count
        for _ in range(4):
            answer = asyncio.run(model.ainvoke("hi"))
            assert isinstance(answer, AIMessage)
        assert provider.count == before + 4
        assert [fact.attempt for fact in mesh.facts] == [1, 1, 1, 1]
