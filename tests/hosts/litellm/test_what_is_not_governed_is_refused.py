from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import openai
import pytest

from mesh_store.model.errors import ConfigError

#: What else of litellm names a model: who only computes, or what ends at a door of ours.
HARMLESS = {
    "acount_tokens",  # counts here, for a vendor it does not know
    "adapter_completion",
    "batch_completion",
    "compress",
    "maybe_run_chat_completion_agentic_loop",
    "run_tool_loop",
    "arun_tool_loop",
}
ASKED: dict[str, Any] = {
    "moderation": lambda x, m: x.moderation(input="x", model=m),
    "moderation positional": lambda x, m: x.moderation("x", m),
    "amoderation": lambda x, m: x.amoderation(input="x", model=m),
    "image_generation": lambda x, m: x.image_generation(prompt="x", model=m),
    "aimage_generation": lambda x, m: x.aimage_generation(prompt="x", model=m),
    "aimage_generation positional": lambda x, m: x.aimage_generation("x", m),
    "image_edit": lambda x, m: x.image_edit(image=b"x", prompt="x", model=m),
    "aimage_edit": lambda x, m: x.aimage_edit(image=b"x", prompt="x", model=m),
    "image_variation": lambda x, m: x.image_variation(image=b"x", model=m),
    "aimage_variation": lambda x, m: x.aimage_variation(image=b"x", model=m),
    "speech": lambda x, m: x.speech(m, "x", "alloy"),
    "aspeech": lambda x, m: x.aspeech(m, "x", "alloy"),
    "transcription": lambda x, m: x.transcription(m, ("a.wav", b"x")),
    "atranscription": lambda x, m: x.atranscription(m, ("a.wav", b"x")),
    "rerank": lambda x, m: x.rerank(m, "x", ["a"]),
    "arerank": lambda x, m: x.arerank(m, "x", ["a"]),
    "create_batch": lambda x, m: x.create_batch("24h", "/v1/chat/completions", "f", model=m),
    "acreate_batch": lambda x, m: x.acreate_batch("24h", "/v1/chat/completions", "f", model=m),
    "create_file": lambda x, m: x.create_file(b"x", "batch", custom_llm_provider="openai", model=m),
    "acreate_file": lambda x, m: x.acreate_file(b"x", "batch", custom_llm_provider="openai", model=m),
    "create_fine_tuning_job": lambda x, m: x.create_fine_tuning_job(m, "f", custom_llm_provider="openai"),
    "acreate_fine_tuning_job": lambda x, m: x.acreate_fine_tuning_job(m, "f", custom_llm_provider="openai"),
    "create_assistants": lambda x, m: x.create_assistants("openai", m),
}
#: What litellm 1.83 may lack.
NEWER: dict[str, Any] = {
    "video_generation": lambda x, m: x.video_generation("x", m),
    "avideo_generation": lambda x, m: x.avideo_generation("x", m),
    "ocr": lambda x, m: x.ocr(model=m, document={}),
    "aocr": lambda x, m: x.aocr(model=m, document={}),
    "agenerate_content": lambda x, m: x.agenerate_content(model=m, contents=[]),
    "compact_responses": lambda x, m: x.compact_responses("x", m),
    "query": lambda x, m: x.query(m, [], {}),
    "aquery": lambda x, m: x.aquery(m, [], {}),
}


@pytest.mark.parametrize("name", [*ASKED, *NEWER])
async def test_it_is_refused_by_name_and_nothing_is_sent(
    name: str, litellm: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = name.partition(" ")[0]
    if name in NEWER and not hasattr(litellm, function):
        pytest.skip("this litellm cannot do it anyway")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    monkeypatch.setenv("OPENAI_BASE_URL", world.provider.base_url)
    ask: Callable[[Any, str], Any] = {**ASKED, **NEWER}[name]

    with pytest.raises(ConfigError, match=rf"litellm\.{function} is not governed by Mesh") as refused:
        answer = ask(litellm, "mesh/fast")
        await answer if inspect.isawaitable(answer) else answer

    assert isinstance(refused.value, litellm.BadRequestError)
    assert world.provider.count == 0


def test_every_function_that_names_a_model_is_governed_refused_or_known(litellm: Any, world: Any) -> None:
    def reaches_out(name: str, function: Any) -> bool:
        if not inspect.isfunction(function) or name.startswith("_"):
            return False
        marked = hasattr(function, "__wrapped__")
        return marked and "model" in inspect.signature(function).parameters

    ours = "mesh_plugins.hosts.litellm"
    left = {
        name
        for name, function in vars(litellm).items()
        if reaches_out(name, function) and not function.__code__.co_filename.count(ours.replace(".", "/"))
    }

    assert left - HARMLESS <= {"anthropic_messages_handler"}


def test_other_models_are_asked_as_ever(litellm: Any, world: Any) -> None:
    with pytest.raises(openai.NotFoundError):  # the stand-in moderates nothing
        litellm.moderation(input="x", model="own", api_key="k", api_base=world.provider.base_url)

    assert world.provider.count == 1


async def test_a_router_neither_retries_nor_cools_down_for_it(litellm: Any, world: Any) -> None:
    router = litellm.Router(
        model_list=[{"model_name": "group", "litellm_params": {"model": "mesh/fast"}}], num_retries=2
    )

    with pytest.raises(litellm.BadRequestError, match="not governed by Mesh"):
        await router.aimage_generation(prompt="x", model="group")
    cooling = await router.cooldown_cache.async_get_active_cooldowns(
        model_ids=router.get_model_ids(), parent_otel_span=None
    )
    router.discard()

    assert cooling == []
    assert world.provider.count == 0


@pytest.mark.parametrize("door", ["create", "acreate"])
async def test_what_ends_at_a_door_is_governed(door: str, litellm: Any, world: Any, messages: Any) -> None:
    call = getattr(litellm.anthropic.messages, door)(max_tokens=5, messages=messages, model="mesh/fast")
    await call if inspect.isawaitable(call) else call

    assert world.recorder.fact.outcome == "ok"
    assert world.provider.count == 1
