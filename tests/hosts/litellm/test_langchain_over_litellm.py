"""`ChatLiteLLM`: under our handler with a model of its own, and with a ``mesh/`` model."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from mesh_store.model.errors import QuotaExceeded


@pytest.fixture
def handler(unhosted_world: Any) -> Any:
    from mesh_plugins.hosts.langchain import MeshCallbackHandler

    return MeshCallbackHandler("fast", mesh=unhosted_world.runtime)


@pytest.fixture
def made(litellm: Any, provider: Any) -> Callable[..., Any]:
    """Make models; each has an address and a key of its own, unless a mesh gives them."""
    from langchain_litellm import ChatLiteLLM

    def make(model: str = "openai/small", **more: Any) -> Any:
        own = {} if model.startswith("mesh/") else {"api_base": provider.base_url, "api_key": "sk-own"}
        return ChatLiteLLM(model=model, max_retries=0, **own, **more)

    return make


async def test_a_handler_counts_what_its_models_say(made: Any, handler: Any, unhosted_world: Any) -> None:
    model, told = made(callbacks=[handler]), unhosted_world.recorder

    answers = [model.invoke("one two three"), await model.ainvoke("one two three")]
    list(model.stream("one two three"))
    [chunk async for chunk in model.astream("one two three")]

    assert [(fact.outcome, fact.host, fact.alias) for fact in told.facts] == [("ok", "langchain", "fast")] * 4
    used = {(fact.input_tokens, fact.output_tokens, fact.estimated) for fact in told.facts}
    said = answers[0].usage_metadata
    assert used == {(said["input_tokens"], said["output_tokens"], False)}
    assert told.settlements == 4


@pytest.mark.parametrize("door", ["invoke", "stream", "batch", "ainvoke", "astream"])
async def test_a_handler_refuses_before_anything_is_sent(
    door: str, made: Any, handler: Any, unhosted_world: Any
) -> None:
    unhosted_world.limiter.refuses = True
    model = made(callbacks=[handler])

    with pytest.raises(QuotaExceeded):
        match door:
            case "ainvoke":
                await model.ainvoke("hello")
            case "astream":
                [chunk async for chunk in model.astream("hello")]
            case "batch":
                model.batch(["hello"])
            case _:
                list(getattr(model, door)("hello"))

    assert unhosted_world.provider.count == 0


def test_a_handler_counts_what_failed_and_what_was_given_up(
    made: Any, handler: Any, unhosted_world: Any
) -> None:
    unhosted_world.provider.script("flaky", status=503)

    with pytest.raises(Exception, match="ServiceUnavailable"):
        made("openai/flaky", callbacks=[handler]).invoke("hello")
    for _ in made(callbacks=[handler]).stream("one two three four"):
        break
    gc.collect()

    facts = unhosted_world.recorder.facts
    assert [(fact.outcome, fact.status) for fact in facts] == [("error", 503), ("abandoned", None)]


async def test_a_model_of_ours_is_charged_once(made: Any, handler: Any, world: Any) -> None:
    model = made("mesh/fast", callbacks=[handler])

    model.invoke("hello")
    await model.ainvoke("hello")
    assert list(model.stream("hello"))
    assert [chunk async for chunk in model.astream("hello")]
    assert await asyncio.to_thread(world.recorder.wait_for, 4)

    assert [(fact.outcome, fact.host) for fact in world.recorder.facts] == [("ok", "litellm")] * 4
    assert world.provider.count == world.recorder.settlements == 4
    assert not any(fact.estimated for fact in world.recorder.facts)


async def test_a_model_of_ours_is_refused_at_every_door(made: Any, world: Any) -> None:
    world.limiter.refuses = True
    model = made("mesh/fast")

    for ask in (
        lambda: model.invoke("hello"),
        lambda: list(model.stream("hello")),
        lambda: model.batch(["hello"]),
    ):
        with pytest.raises(QuotaExceeded):
            ask()
    with pytest.raises(QuotaExceeded):
        await model.ainvoke("hello")
    with pytest.raises(QuotaExceeded):
        [chunk async for chunk in model.astream("hello")]

    assert world.provider.count == 0
