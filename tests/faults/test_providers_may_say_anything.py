"""Whatever a provider answers, in whatever pieces: a caller has a reply or an error of ours, and one fact."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh_plugins import MeshError
from mesh_plugins.core.runtime import Runtime
from mesh_plugins.defaults import builtin_plugins
from mesh_plugins.http.sender import DirectSender
from mesh_plugins.http.wire.usage import ABSURD
from mesh_plugins.manager import load
from mesh_plugins.testing.standin import anthropic, openai
from mesh_plugins.testing.standin.responses import responses
from mesh_plugins.testing.standin.script import PLAIN
from mesh_store.model.snapshot import Provider
from mesh_store.telemetry.records import decode, encode
from tests.core.conftest import KEY, Config, World, document
from tests.core.ports import AsyncLimiter, Limiter, Recorder, Sender
from tests.faults.hostile import STATUSES, TYPES, VALUES, WAITS, SaysThis, cut, encoded, twisted

ASKED = [{"role": "user", "content": "say something"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CHAT: dict[str, Any] = {"model": "m", "messages": ASKED, "max_tokens": 9}
TOOLS = {**CHAT, "tools": [TOOL], "tool_choice": "required"}
CLAUDE = {**CHAT, "thinking": {"type": "enabled"}}
INPUT = {"model": "m", "input": "say something"}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}

#: Kind, operation, the answer as it should be; as a whole and as a stream.
WHOLE: dict[str, tuple[str, str, Any]] = {
    "openai chat": ("openai", "chat", openai.chat(CHAT, 1, PLAIN)),
    "openai tools": ("openai", "chat", openai.chat(TOOLS, 1, PLAIN)),
    "openai responses": ("openai", "responses", responses(INPUT, 1, PLAIN)),
    "openai embeddings": ("openai", "embeddings", openai.embeddings(INPUT, PLAIN)),
    "anthropic": ("anthropic", "chat", anthropic.messages(CLAUDE, 1, PLAIN, set())),
}
STREAMS: dict[str, tuple[str, str, Any]] = {
    "openai chat": ("openai", "chat", openai.chat({**CHAT, **STREAMED}, 1, PLAIN)),
    "openai tools": ("openai", "chat", openai.chat({**TOOLS, **STREAMED}, 1, PLAIN)),
    "openai responses": ("openai", "responses", responses({**INPUT, "stream": True}, 1, PLAIN)),
    "anthropic": ("anthropic", "chat", anthropic.messages({**CLAUDE, "stream": True}, 1, PLAIN, set())),
}

#: Examples by default, and under ``full``.
COUNTS = [60, pytest.param(3_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
FIGURES = ["prompt_tokens", "completion_tokens", "total_tokens"]
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


def a_world(kind: Any) -> World:
    """A runtime whose two providers are of this kind; nothing is repeated, so that nobody has to wait."""
    providers = [Provider(id=p, name=p, kind=kind, base_url=f"http://{p}.test/v1") for p in ("p1", "p2")]
    [alias] = document().aliases
    aliases = (msgspec.structs.replace(alias, operations=("chat", "responses", "embeddings")),)
    config = Config(document(providers=tuple(providers), aliases=aliases))
    limiter, recorder = Limiter(), Recorder()
    hooks = load((), (), builtin=builtin_plugins())
    runtime = Runtime(
        config=config,
        limiter=limiter,
        async_limiter=AsyncLimiter(limiter),
        recorder=recorder,
        hooks=hooks,
        key=KEY.text,
    )
    runtime._engine.budget._tokens = 0.0
    return World(config, limiter, recorder, Sender(), runtime)


def payload(operation: str) -> dict[str, Any]:
    return {"messages": ASKED, "max_tokens": 9} if operation == "chat" else {"input": "say something"}


def check(world: Any) -> None:
    """Every attempt is one fact that can be shipped, of possible figures; what was reserved is settled."""
    facts, [settled] = world.recorder.facts, world.recorder.settlements
    assert settled.fact is facts[-1]
    assert len({fact.call_id for fact in facts}) == 1
    assert [fact.attempt for fact in facts] == list(range(1, len(facts) + 1))
    for record in world.recorder.records:
        assert decode(encode(record)) is not None
    for fact in facts:
        for figure in (fact.input_tokens, fact.output_tokens, fact.cache_read_tokens, fact.reasoning_tokens):
            assert type(figure) is int
            assert 0 <= figure <= 2 * ABSURD
        assert fact.cost_pico_usd is None or fact.cost_pico_usd >= 0
    assert all(type(each) is int and each >= 0 for each in settled.settlement.actual)


def answered(world: Any, sender: Any, operation: str) -> Any:
    """Call once, without a stream; None where the caller was told an error of ours."""
    request = world.runtime.request(operation, "fast", payload(operation))
    try:
        return world.runtime.call(request, sender)
    except MeshError:
        return None


def read(world: Any, sender: Any, operation: str) -> None:
    """Read a stream to whatever its end is."""
    request = world.runtime.request(operation, "fast", payload(operation), stream=True)
    try:
        for chunk in world.runtime.stream_call(request, sender):
            repr(chunk)
            json.dumps(chunk.to_dict())
    except MeshError:
        return


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("examples", COUNTS)
def test_as_a_reply(name: str, examples: int) -> None:
    kind, operation, right = WHOLE[name]

    @settings(max_examples=examples, **SETTINGS)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        world = a_world(kind)
        body = encoded(twisted(data, json.loads(right)))
        says = SaysThis(
            data.draw(st.sampled_from([200, 201, 299])), {"content-type": data.draw(TYPES)}, [body]
        )
        reply = answered(world, DirectSender(says), operation)  # type: ignore[arg-type]
        if reply is not None:
            repr(reply.body)
            json.dumps(reply.body.to_dict())
        check(world)

    law()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("examples", COUNTS)
def test_as_a_stream(name: str, examples: int) -> None:
    kind, operation, right = STREAMS[name]

    @settings(max_examples=examples, **SETTINGS)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        world = a_world(kind)
        events = list(right)
        for _ in range(data.draw(st.integers(1, 2))):
            at = data.draw(st.integers(0, len(events) - 1))
            events[at : at + 1] = data.draw(
                st.sampled_from([[], [events[at]] * 2, [_twisted(data, events[at])]])
            )
            if not events:
                break
        pieces, breaks = cut(data, b"".join(events)), data.draw(st.booleans())
        says = SaysThis(200, {"content-type": data.draw(TYPES)}, pieces, breaks)
        read(world, DirectSender(says), operation)  # type: ignore[arg-type]
        check(world)

    law()


def _twisted(data: st.DataObject, event: bytes) -> bytes:
    """Return an event whose JSON is twisted; one that is none as it came, or cut short."""
    head, mark, body = event.partition(b"data: ")
    try:
        tree = json.loads(body)
    except ValueError:
        return event[: data.draw(st.integers(0, len(event)))]
    return head + mark + encoded(twisted(data, tree)) + b"\n\n"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("examples", COUNTS)
def test_as_an_error(stream: bool, examples: int) -> None:
    @settings(max_examples=examples, **SETTINGS)
    @given(
        status=STATUSES,
        kind=st.sampled_from(["openai", "anthropic"]),
        said=st.binary(max_size=40) | VALUES.map(encoded) | VALUES.map(lambda it: encoded({"error": it})),
        of=TYPES,
        wait=WAITS,
    )
    def law(status: int, kind: str, said: bytes, of: str, wait: str) -> None:
        world = a_world(kind)
        headers = {"content-type": of, "retry-after": wait, "retry-after-ms": wait}
        sender = DirectSender(SaysThis(status, headers, [said]))  # type: ignore[arg-type]
        if stream:
            read(world, sender, "chat")
        else:
            answered(world, sender, "chat")
        check(world)

    law()


@pytest.mark.parametrize("examples", COUNTS)
def test_as_a_lie_about_usage_that_costs_no_more_than_was_reserved(examples: int) -> None:
    """What cannot be is replaced by our own estimate, and limits are charged that."""

    @settings(max_examples=examples, **SETTINGS)
    @given(
        st.dictionaries(
            st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens"]), VALUES, min_size=1
        )
    )
    def law(lie: dict[str, Any]) -> None:
        world = a_world("openai")
        right = json.loads(WHOLE["openai chat"][2])
        right["usage"] |= lie
        says = SaysThis(200, {"content-type": "application/json"}, [encoded(right)])
        answered(world, DirectSender(says), "chat")  # type: ignore[arg-type]
        check(world)
        [fact] = world.recorder.facts[-1:]
        assert fact.input_tokens <= ABSURD >= fact.output_tokens

    law()
