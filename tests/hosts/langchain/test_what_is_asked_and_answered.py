"""Parameter by parameter: what `ChatMesh` and `MeshEmbeddings` send, and what they make of replies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.load import dumpd, load
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from mesh_plugins.hosts.langchain import ChatMesh, MeshEmbeddings
from mesh_store.model import keys

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


class TestOnTheWire:
    @pytest.mark.parametrize(
        ("choice", "wire"),
        [
            ("any", "required"),
            (True, "required"),
            ("auto", "auto"),
            ("none", "none"),
            ("Weather", {"type": "function", "function": {"name": "Weather"}}),
        ],
    )
    def test_each_choice_of_a_tool(self, model, provider, choice, wire):
        model.bind_tools([Weather], tool_choice=choice).invoke("weather in Paris?")
        assert sent(provider)["tool_choice"] == wire

    def test_no_choice_of_a_tool_is_none(self, model, provider):
        model.bind_tools([Weather], tool_choice=False, parallel_tool_calls=False).invoke("weather?")
        assert "tool_choice" not in sent(provider)
        assert sent(provider)["parallel_tool_calls"] is False

    def test_strict_tools_are_strict_on_the_wire(self, model, provider):
        model.bind_tools([Weather], strict=True).invoke("weather?")
        assert sent(provider)["tools"][0]["function"]["strict"] is True

    def test_each_method_of_structured_output(self, model, provider):
        called = model.with_structured_output(Weather, strict=True)
        assert isinstance(called.invoke("weather in Paris?"), Weather)
        assert sent(provider)["tools"][0]["function"] == {
            **sent(provider)["tools"][0]["function"],
            "name": "Weather",
            "strict": True,
        }
        by_schema = model.with_structured_output(Weather, method="json_schema", strict=True)
        assert isinstance(by_schema.invoke("weather in Paris?"), Weather)
        assert sent(provider)["response_format"]["type"] == "json_schema"
        assert sent(provider)["response_format"]["json_schema"]["strict"] is True
        by_mode = model.with_structured_output(Weather.model_json_schema(), method="json_mode")
        assert by_mode.invoke("as JSON") == {"answer": "as JSON"}
        assert sent(provider)["response_format"] == {"type": "json_object"}
        assert "ls_structured_output_format" not in sent(provider)

    def test_structured_output_shows_what_it_could_not_read(self, model, provider):
        told = model.with_structured_output(Weather, method="json_mode", include_raw=True).invoke("x")
        assert told["raw"].content == '{"answer":"x"}'
        assert told["parsed"] is None
        assert told["parsing_error"] is not None

    def test_an_unknown_option_of_structured_output_is_refused(self, model):
        for method in ("function_calling", "json_schema"):
            with pytest.raises((TypeError, ValueError), match="colour"):
                model.with_structured_output(Weather, method=method, colour="red")

    def test_audio_and_files_are_sent_as_openai_knows_them(self, model, provider):
        audio = {"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}
        file = {"type": "file", "base64": "aGk=", "mime_type": "application/pdf", "filename": "a.pdf"}
        model.invoke([HumanMessage([{"type": "text", "text": "listen"}, audio, file])])
        _, heard, read = sent(provider)["messages"][0]["content"]
        assert heard == {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
        assert read["file"]["file_data"] == "data:application/pdf;base64,aGk="
        assert read["file"]["filename"] == "a.pdf"

    def test_whatever_else_is_given_passes_through(self, mesh, provider):
        model = ChatMesh(model="fast", mesh=mesh, model_kwargs={"top_p": 0.5, "logit_bias": {"1": 2}})
        model.invoke("hi", presence_penalty=0.1, top_p=0.9)
        assert (sent(provider)["top_p"], sent(provider)["presence_penalty"]) == (0.9, 0.1)
        assert sent(provider)["logit_bias"] == {"1": 2}

    async def test_the_same_is_sent_in_both_colours_and_as_a_stream(self, mesh, provider):
        model = ChatMesh(model="fast", mesh=mesh, temperature=0.5, max_tokens=9, stop=["END"], seed=3)
        bodies = []
        for ask in (
            lambda: model.ainvoke("hi", stop=["X"]),
            lambda: asyncio.to_thread(model.invoke, "hi", stop=["X"]),
            lambda: asyncio.to_thread(lambda: list(model.stream("hi", stop=["X"]))),
            lambda: _read(model.astream("hi", stop=["X"])),
        ):
            await ask()
            bodies.append({k: v for k, v in sent(provider).items() if not k.startswith("stream")})
        assert bodies[0]["stop"] == ["X"]
        assert bodies == [bodies[0]] * 4

    def test_callbacks_are_told_what_is_asked_for(self, mesh):
        told = []

        class Listening(BaseCallbackHandler):
            def on_chat_model_start(self, *_, **said):
                told.append((said["invocation_params"], said["metadata"]))

        model = ChatMesh(model="fast", mesh=mesh, temperature=0.5, callbacks=[Listening()])
        model.invoke("hi", stop=["X"])
        [(parameters, metadata)] = told
        assert (parameters["model"], parameters["temperature"], parameters["stop"]) == ("fast", 0.5, ["X"])
        assert (metadata["ls_provider"], metadata["ls_model_name"], metadata["ls_stop"]) == (
            "mesh",
            "fast",
            ["X"],
        )

    async def test_a_stream_says_what_it_took_in_both_colours(self, model, mesh):
        for chunks in (list(model.stream("hi")), await _chunks(model.astream("hi"))):
            whole = chunks[0]
            for chunk in chunks[1:]:
                whole += chunk
            told = [(fact.call_id, fact.input_tokens) for fact in mesh.facts]
            assert (whole.response_metadata["mesh"]["call_id"], whole.usage_metadata["input_tokens"]) in told

    def test_key_tags_session_and_end_user_reach_the_facts(self, mesh):
        other = keys.mint()
        entry = next(iter(mesh.config.entries.values()))
        import msgspec

        mesh.config.entries[other.digest] = msgspec.structs.replace(entry, id=other.id)
        model = ChatMesh(model="fast", mesh=mesh, key=other.text, mesh_tags={"job": "nightly"})
        model.bind(session="s1", end_user="ann").invoke("hi")
        list(model.stream("hi"))
        assert [fact.key_id for fact in mesh.facts] == [other.id] * 2
        assert {fact.host for fact in mesh.facts} == {"langchain"}
        assert mesh.facts[0].tags == {"job": "nightly"}
        assert mesh.facts[0].end_user

    @pytest.mark.parametrize("alias", ["fast", "claude"])
    def test_what_comes_back_can_be_written_down_as_json(self, mesh, provider, alias):
        model = ChatMesh(model=alias, mesh=mesh).bind(**({"logprobs": True} if alias == "fast" else {}))
        whole = model.invoke("hi")
        streamed = None
        for chunk in model.stream("hi"):
            streamed = chunk if streamed is None else streamed + chunk
        for message in (whole, streamed):
            assert json.loads(json.dumps(message.model_dump()))["content"] == message.content
        if alias == "fast":
            assert whole.response_metadata["logprobs"]["content"]

    def test_several_answers_are_several_generations(self, model):
        result = model.generate([[HumanMessage("hi")]], n=2)
        assert len(result.generations[0]) == 2
        assert result.llm_output["token_usage"]


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


class TestUsage:
    USAGE = {  # noqa: RUF012
        "prompt_tokens": 90,
        "completion_tokens": 40,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 2},
    }

    @pytest.mark.parametrize("streamed", [False, True])
    def test_cache_reasoning_and_audio_are_told_and_agree_with_the_fact(
        self, model, mesh, provider, streamed
    ):
        provider.script("fast-1", usage=self.USAGE)
        with get_usage_metadata_callback() as counted:
            if streamed:
                answer = None
                for chunk in model.stream("hi"):
                    answer = chunk if answer is None else answer + chunk
            else:
                answer = model.invoke("hi")
        assert answer.usage_metadata == {
            "input_tokens": 90,
            "output_tokens": 40,
            "total_tokens": 130,
            "input_token_details": {"cache_read": 60, "audio": 5},
            "output_token_details": {"reasoning": 30, "audio": 2},
        }
        fact = mesh.facts[-1]
        assert (fact.input_tokens, fact.cache_read_tokens, fact.reasoning_tokens) == (90, 60, 30)
        assert counted.usage_metadata["fast-1"]["total_tokens"] == fact.input_tokens + fact.output_tokens

    def test_anthropics_cache_is_part_of_the_input(self, mesh, provider):
        provider.script("claude-1", usage={"cache_read_input_tokens": 50, "cache_creation_input_tokens": 7})
        answer = ChatMesh(model="claude", mesh=mesh).invoke("one two three")
        details = answer.usage_metadata["input_token_details"]
        assert (details["cache_read"], details["cache_creation"]) == (50, 7)
        assert answer.usage_metadata["input_tokens"] == mesh.facts[-1].input_tokens > 57
        provider.clear()


class TestWrittenDown:
    @pytest.mark.filterwarnings("ignore:The function `load` is in beta")
    def test_a_bound_model_and_embeddings_come_back_as_they_were(self, mesh, provider):
        model = ChatMesh(model="fast", temperature=0.5, stop=["x"], mesh_tags={"a": "b"}, max_tokens=7)
        bound = model.bind(seed=3)
        read = load(
            dumpd(bound),
            valid_namespaces=["mesh_plugins"],
            allowed_objects=[ChatMesh, type(bound)],
        )
        restored = read.bound
        restored.mesh = mesh
        read.invoke("hi")
        assert (sent(provider)["seed"], sent(provider)["stop"], sent(provider)["max_tokens"]) == (3, ["x"], 7)
        embeddings = MeshEmbeddings(model="fast", dimensions=3)
        assert MeshEmbeddings(**embeddings.model_dump()) == embeddings


async def _chunks(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]
