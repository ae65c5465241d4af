from __future__ import annotations

from typing import Any

import pytest

from mesh_store.model.errors import QuotaExceeded


@pytest.fixture
def router(litellm: Any, world: Any) -> Any:
    """A router of two mesh deployments, with a fallback group that nobody governs."""
    own = {"model": "openai/fallback", "api_base": world.provider.base_url, "api_key": "k"}
    made = litellm.Router(
        model_list=[
            {"model_name": "group", "litellm_params": {"model": "mesh/fast"}},
            {"model_name": "group", "litellm_params": {"model": "mesh/fast", "tpm": 1_000_000}},
            {"model_name": "other", "litellm_params": own},
        ],
        fallbacks=[{"group": ["other"]}],
        num_retries=2,
    )
    yield made
    made.discard()


async def test_a_router_of_mesh_deployments_is_governed(
    litellm: Any, router: Any, world: Any, messages: Any
) -> None:
    router.completion("group", messages)
    await router.acompletion("group", messages)
    assert list(router.completion("group", messages, stream=True))
    assert [c async for c in await router.acompletion("group", messages, stream=True)]
    router.embedding("group", "hello")
    await router.aembedding("group", "hello")
    await router.atext_completion(model="group", prompt="hello")
    await router.aresponses(model="group", input="hello")
    router.responses(model="group", input="hello")

    assert [fact.outcome for fact in world.recorder.facts] == ["ok"] * 9
    assert world.recorder.settlements == world.provider.count == 9


async def test_a_refusal_costs_no_retry_no_cooldown_and_no_fallback(
    litellm: Any, router: Any, world: Any, messages: Any
) -> None:
    from litellm.integrations import custom_guardrail

    if not hasattr(custom_guardrail, "is_guardrail_intervention"):
        pytest.skip("this litellm's Router falls back whatever was raised")
    world.limiter.refuses = True

    with pytest.raises(QuotaExceeded):
        router.completion("group", messages)
    with pytest.raises(QuotaExceeded):
        await router.acompletion("group", messages)
    with pytest.raises(QuotaExceeded):
        await router.acompletion("group", messages, stream=True)
    with pytest.raises(QuotaExceeded):
        await router.aembedding("group", "hello")
    with pytest.raises(QuotaExceeded):
        await router.aresponses(model="group", input="hello")

    assert world.provider.count == 0
    assert world.config.lookups == 5
    cooling = await router.cooldown_cache.async_get_active_cooldowns(
        model_ids=router.get_model_ids(), parent_otel_span=None
    )
    assert cooling == []


async def test_a_providers_failure_still_makes_the_router_fall_back(
    litellm: Any, router: Any, world: Any, messages: Any
) -> None:
    world.provider.script("small", status=400)

    reply = await router.acompletion("group", messages)

    assert reply.model == "fallback"
    assert {fact.outcome for fact in world.recorder.facts} == {"error"}


@pytest.mark.parametrize("retries", [{"num_retries": 3}, {"max_retries": 3}], ids=["num", "max"])
async def test_there_is_one_retry_layer_and_it_is_ours(
    retries: Any, way: Any, litellm: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "num_retries", 3)
    world.provider.script("small", status=400)

    with pytest.raises(litellm.BadRequestError):
        await way(litellm, "fast", **retries)

    assert world.provider.count == (3 if way.name == "completion with retries" else 1)


async def test_a_retry_of_ours_is_one_call(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("small", status=503, times=1)

    reply = await litellm.acompletion("mesh/fast", messages)

    assert reply.choices
    assert [fact.outcome for fact in world.recorder.facts] == ["error", "ok"]
    assert world.recorder.settlements == world.limiter.asked == 1


async def test_fallbacks_of_the_caller_may_name_an_alias(litellm: Any, world: Any, messages: Any) -> None:
    world.provider.script("own", status=400)

    reply = await litellm.acompletion(
        "openai/own", messages, api_base=world.provider.base_url, api_key="k", fallbacks=["mesh/fast"]
    )

    assert reply.model == "small"
    assert world.recorder.fact.outcome == "ok"
